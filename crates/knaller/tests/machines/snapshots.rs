//! Machines kept as they are, and others made of them.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};

use knaller::{Error, MemoryBackend, Origin, RestoreSpec, SnapshotOptions, StartOptions, State, Vmm};

use crate::support::{Bed, PATIENCE, end, said, small, vmm};

/// Counts in memory, ten times a second, which only a process that goes on can do.
const COUNT: &str = "mkdir -p /run/c; (i=0; while true; do i=$((i+1)); echo $i > /run/c/n; sleep 0.1; done) >/dev/null 2>&1 </dev/null & \
                     until [ -s /run/c/n ]; do sleep 0.05; done";

async fn count(machine: &knaller::Machine) -> u32 {
    said(machine, "cat /run/c/n").await.parse().unwrap()
}

/// Everything that must be a machine's own.
async fn identity(bed: &Bed, machine: &knaller::Machine) -> [String; 5] {
    let own = "echo id $(cat /etc/machine-id); cat /proc/sys/kernel/random/uuid; hostname; head -c 32 /dev/urandom | base64";
    let mut own: Vec<_> = said(machine, own).await.lines().map(str::to_owned).collect();
    // By which clients know it: a key that was drawn for it.
    let folder = bed
        .knaller
        .options()
        .paths
        .data
        .join("vms")
        .join(machine.name().as_str());
    let known = std::fs::read_to_string(folder.join("known_hosts")).unwrap();
    own.push(known.split_whitespace().nth(2).unwrap().to_owned());
    own.try_into().unwrap()
}

#[tokio::test]
async fn a_machine_of_a_snapshot_goes_on_as_another() {
    let bed = Bed::new();
    let machine = bed.start(small("db")).await;
    said(&machine, COUNT).await;
    said(&machine, "echo before > /root/file; sync").await;
    let options = SnapshotOptions {
        name: Some("ready".parse().unwrap()),
        ..SnapshotOptions::default()
    };
    let taken = machine.snapshot(options.clone()).await.unwrap();
    assert_eq!(taken.warnings, [""; 0]);
    assert!(matches!(
        machine.snapshot(options).await,
        Err(Error::SnapshotExists(_))
    ));
    // It goes on, and what it does now is not in the snapshot.
    let at = count(&machine).await;
    said(&machine, "echo after > /root/file; sync").await;
    said(
        &machine,
        &format!("until [ $(cat /run/c/n) -gt {at} ]; do sleep 0.1; done"),
    )
    .await;

    let first_link = said(&machine, "cat /sys/class/net/eth0/address").await;
    let mut identities = HashSet::from([said(&machine, "cat /proc/sys/kernel/random/uuid").await]);
    for name in ["one", "two"] {
        let mut spec = RestoreSpec::default();
        spec.name = Some(name.parse().unwrap());
        spec.mac = (name == "two").then(|| "02:00:5e:10:00:01".parse().unwrap());
        let mac = spec.mac;
        let restored = bed
            .knaller
            .restore(
                &"ready".parse().unwrap(),
                spec,
                StartOptions::default(),
                &mut |_| {},
            )
            .await;
        let (restored, _) = restored.unwrap();
        let snapshot = "ready".parse().unwrap();
        assert_eq!(
            restored.info().await.unwrap().origin,
            Origin::Restored { snapshot }
        );
        assert_eq!(said(&restored, "cat /root/file").await, "before");
        let link = said(&restored, "cat /sys/class/net/eth0/address").await;
        assert_eq!(link, mac.map_or(first_link.clone(), |mac| mac.to_string()));
        said(&restored, "ping -c 1 -W 20 10.255.255.253").await;
        let at = count(&restored).await;
        said(
            &restored,
            &format!("until [ $(cat /run/c/n) -gt {at} ]; do sleep 0.1; done"),
        )
        .await;
        assert_eq!(said(&restored, "hostname").await, name);
        for own in identity(&bed, &restored).await {
            assert!(identities.insert(own.clone()), "{own} is shared");
        }
        // Stopped and started, it is an ordinary machine.
        restored.stop(knaller::StopOptions::default()).await.unwrap();
        restored
            .start(StartOptions::default(), &mut |_| {})
            .await
            .unwrap();
        let origin = restored.info().await.unwrap().origin;
        assert!(matches!(origin, Origin::Cold | Origin::Warm), "{origin:?}");
        assert_eq!(said(&restored, "cat /root/file").await, "before");
        end(&restored).await;
    }
    let [info] = bed.knaller.snapshots().await.unwrap().try_into().unwrap();
    assert_eq!((info.name.as_str(), info.machine.as_str()), ("ready", "db"));
    bed.knaller.remove_snapshot(&info.name, false).await.unwrap();
    assert!(matches!(
        bed.knaller.snapshot(&info.name).await,
        Err(Error::NoSnapshot(_))
    ));
    end(&machine).await;
}

#[tokio::test]
async fn a_machine_whose_memory_is_served_needs_nothing_of_its_snapshot() {
    let bed = Bed::new();
    let machine = bed.start(small("db")).await;
    said(&machine, COUNT).await;
    let options = SnapshotOptions {
        name: Some("ready".parse().unwrap()),
        stop: true,
        diff: false,
    };
    let name = machine.snapshot(options).await.unwrap().info.name;
    machine.remove().await.unwrap();
    let restore = async |as_what: &str| {
        let mut spec = RestoreSpec::default();
        spec.name = Some(as_what.parse().unwrap());
        spec.memory = MemoryBackend::Userfault;
        let options = StartOptions::default();
        let restored = bed.knaller.restore(&name, spec, options, &mut |_| {}).await;
        restored.map(|(machine, _)| machine)
    };
    if vmm() == Vmm::Sparkler {
        assert!(matches!(restore("one").await, Err(Error::Userfault { .. })));
        return;
    }
    let folder = bed.knaller.options().paths.data.join("snapshots/ready");
    let noted = || std::fs::read(folder.join("working-set"));
    assert!(noted().is_err());
    let one = restore("one").await.unwrap();
    let touched = noted().unwrap();
    let two = restore("two").await.unwrap();
    // What is known is not noted again.
    assert_eq!(noted().unwrap(), touched);
    // A machine that maps its file would not survive this.
    let memory = std::fs::OpenOptions::new()
        .write(true)
        .open(folder.join("memory"));
    memory.unwrap().set_len(0).unwrap();
    for machine in [&one, &two] {
        let at = count(machine).await;
        said(machine, "tar -c /bin /etc /lib | wc -c; dmesg | wc -l").await;
        said(
            machine,
            &format!("until [ $(cat /run/c/n) -gt {at} ]; do sleep 0.1; done"),
        )
        .await;
        end(machine).await;
    }
    assert!(matches!(
        restore("three").await,
        Err(Error::SnapshotDamaged { .. })
    ));
}

#[tokio::test]
async fn forks_go_on_from_the_same_moment_and_share_nothing_else() {
    let bed = Bed::new();
    let machine = bed.start(small("db")).await;
    said(&machine, COUNT).await;
    let specs = vec![RestoreSpec::default(); 3];
    let forks = machine
        .fork(specs, StartOptions::default(), &mut |_| {})
        .await
        .unwrap();
    // The machine itself is one of them.
    let mut identities = HashSet::from(identity(&bed, &machine).await);
    for (fork, _) in &forks {
        let machine = "db".parse().unwrap();
        assert_eq!(fork.info().await.unwrap().origin, Origin::Forked { machine });
        assert!(count(fork).await > 0);
        said(fork, "echo mine > /root/file").await;
        for own in identity(&bed, fork).await {
            assert!(identities.insert(own.clone()), "{own} is shared");
        }
    }
    assert_eq!(said(&machine, "ls /root").await, "");
    // Nothing of the moment is left but the forks.
    assert!(bed.knaller.snapshots().await.unwrap().is_empty());
    for (fork, _) in &forks {
        end(fork).await;
    }
    end(&machine).await;
}

/// Leaves one connection from the host, and one within the machine, each read by a program that says when it is over.
const CONNECTIONS: &str = "mkfifo /run/in /run/idle; \
    listen() { nc -l -p $1 <> /run/idle > /run/got$1; echo > /run/over$1; }; \
    (listen 7000 & listen 7001 &) < /dev/null > /dev/null 2>&1; \
    until grep -q :1B59 /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done; \
    (sh -c 'exec 3<> /run/in; exec nc 127.0.0.1 7001 <&3' &) > /dev/null 2>&1; \
    until grep -q ':1B59 .* 01 ' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done";

#[tokio::test]
async fn connections_stay_with_the_machine_that_had_them() {
    let bed = Bed::new();
    let machine = bed
        .start(small("web").forward("127.0.0.1:0:7000".parse().unwrap()))
        .await;
    said(&machine, CONNECTIONS).await;
    let port = machine.info().await.unwrap().forwards[0].host_port;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.write_all(b"first ").unwrap();
    said(&machine, "until [ -s /run/got7000 ]; do sleep 0.1; done").await;
    let mut nothing = |_| {};
    let forks = machine.fork(
        vec![RestoreSpec::default()],
        StartOptions::default(),
        &mut nothing,
    );
    let (fork, _) = forks.await.unwrap().remove(0);
    // Whoever read there is told; what both ends of are in the machine goes on.
    said(&fork, "until [ -e /run/over7000 ]; do sleep 0.1; done").await;
    let alone = "echo word > /run/in; until [ -s /run/got7001 ]; do sleep 0.1; done; ls /run/over7001 2> /dev/null || echo open";
    assert_eq!(said(&fork, alone).await, "open");
    // The machine has kept it.
    client.write_all(b"second").unwrap();
    drop(client);
    let kept = "until [ -e /run/over7000 ]; do sleep 0.1; done; cat /run/got7000";
    assert_eq!(said(&machine, kept).await, "first second");
    assert_eq!(said(&machine, alone).await, "open");
    end(&fork).await;
    end(&machine).await;
}

#[tokio::test]
async fn whoever_is_stopped_while_it_takes_a_snapshot_leaves_a_machine_that_goes_on() {
    let bed = Bed::new();
    let machine = bed.start(small("db")).await;
    said(&machine, COUNT).await;
    let mark = bed.knaller.options().paths.data.join("vms/db/pausing");
    {
        let mut snapshot = std::pin::pin!(machine.snapshot(SnapshotOptions::default()));
        // Dropped in the moment in which the machine stands still.
        tokio::select! {
            biased;
            taken = &mut snapshot => panic!("{taken:?}"),
            () = async { while !mark.exists() { tokio::task::yield_now().await } } => {}
        }
    }
    assert!(!mark.exists());
    let machine = bed.knaller.get("db").await.unwrap();
    assert_eq!(machine.info().await.unwrap().state, State::Running);
    let at = count(&machine).await;
    said(
        &machine,
        &format!("until [ $(cat /run/c/n) -gt {at} ]; do sleep 0.1; done"),
    )
    .await;
    assert!(bed.knaller.snapshots().await.unwrap().is_empty());
    end(&machine).await;
}

#[tokio::test]
async fn a_machine_is_paused_renamed_and_goes_on() {
    let bed = Bed::new();
    let machine = bed.start(small("web")).await;
    said(&machine, COUNT).await;
    machine.pause().await.unwrap();
    assert!(matches!(machine.pause().await, Err(Error::Paused(_))));
    assert_eq!(machine.info().await.unwrap().state, State::Paused);
    // What only a guest that runs can do is refused for what it is, not for the time that it would take.
    let request = knaller::ExecRequest::line("true");
    assert!(matches!(machine.output(request).await, Err(Error::Paused(_))));
    let copied = machine
        .copy_out(
            "/etc/hostname",
            bed.sandbox.path(),
            &knaller::CopyOptions::default(),
            &mut |_| {},
        )
        .await;
    assert!(matches!(copied, Err(Error::Paused(_))));
    assert!(matches!(machine.connect_vsock(22).await, Err(Error::Paused(_))));
    let forwarded = machine.forward("127.0.0.1:0".parse().unwrap(), 22).await;
    assert!(matches!(forwarded, Err(Error::Paused(_))));
    machine.resume().await.unwrap();
    assert!(matches!(machine.resume().await, Err(Error::NotPaused(_))));
    let at = count(&machine).await;
    said(
        &machine,
        &format!("until [ $(cat /run/c/n) -gt {at} ]; do sleep 0.1; done"),
    )
    .await;
    let other = bed.start(small("db")).await;
    assert!(matches!(
        other.clone().rename(&"web".parse().unwrap()).await,
        Err(Error::NameTaken { .. })
    ));
    let machine = machine.rename(&"api".parse().unwrap()).await.unwrap();
    assert!(count(&machine).await > at);
    let names: Vec<_> = bed
        .knaller
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(
        names.iter().map(knaller::Name::as_str).collect::<Vec<_>>(),
        ["api", "db"]
    );
    let stats = machine.stats().await.unwrap();
    assert!(stats.usage.processes >= 2 && stats.usage.memory > 0, "{stats:?}");
    assert!(stats.guest.is_some());
    end(&other).await;
    end(&machine).await;
}

#[tokio::test]
async fn nobody_pauses_or_resumes_a_machine_that_a_snapshot_is_taken_of() {
    let bed = Bed::new();
    let machine = bed.start(small("busy")).await;
    let data = bed.sandbox.data().join("knaller/vms/busy");
    let runtime = bed.sandbox.runtime().join("knaller/busy");
    for pauses in [true, false] {
        let taking = tokio::time::timeout(PATIENCE, machine.snapshot(SnapshotOptions::default()));
        let turning = async {
            let begun = || {
                [&data, &runtime]
                    .iter()
                    .any(|folder| folder.join("pausing").exists())
            };
            while !begun() {
                tokio::task::yield_now().await;
            }
            match pauses {
                true => vec![machine.pause().await],
                false => {
                    let mut turned = Vec::new();
                    while begun() {
                        turned.push(machine.resume().await);
                    }
                    turned
                }
            }
        };
        let (taken, turned) = tokio::join!(taking, turning);
        taken.expect("it hangs").unwrap();
        let state = machine.info().await.unwrap().state;
        if pauses {
            // Right after it, or not at all.
            match &turned[..] {
                [Ok(())] => {
                    assert_eq!(state, State::Paused);
                    machine.resume().await.unwrap();
                }
                refused => assert!(matches!(refused, [Err(Error::Busy(_))]), "{refused:?}"),
            }
        } else {
            let refused = |turned| matches!(turned, &Err(Error::NotPaused(_) | Error::Busy(_)));
            assert!(turned.iter().all(refused), "{turned:?}");
        }
        said(&machine, "true").await;
    }
    end(&machine).await;
}

#[tokio::test]
async fn a_volume_that_a_snapshot_needs_stays_as_the_guest_knows_it() {
    let bed = Bed::new();
    let volume: knaller::Name = "data".parse().unwrap();
    let path = bed.knaller.create_volume(&volume, Some(32)).await.unwrap();
    let machine = bed
        .start(small("reader").volume("data:/data:ro".parse().unwrap()))
        .await;
    let kept: knaller::Name = "kept".parse().unwrap();
    let options = SnapshotOptions {
        name: Some(kept.clone()),
        ..SnapshotOptions::default()
    };
    machine.snapshot(options).await.unwrap();
    end(&machine).await;
    let refused = bed.knaller.remove_volume(&volume).await.unwrap_err();
    assert!(
        matches!(&refused, Error::VolumeNeeded { snapshots, .. } if *snapshots == [kept.clone()]),
        "{refused:?}"
    );
    // Who only reads it changes nothing.
    end(&restored(&bed, &kept).await.unwrap()).await;
    let writer = bed
        .start(small("writer").volume("data:/data".parse().unwrap()))
        .await;
    said(&writer, "echo new > /data/file").await;
    end(&writer).await;
    let refused = restored(&bed, &kept).await.map(drop).unwrap_err();
    assert!(
        matches!(&refused, Error::SnapshotUnfit { reason, .. } if reason.contains("volume data was written to since")),
        "{refused:?}"
    );
    // By somebody who asked nobody.
    std::fs::remove_file(&path).unwrap();
    let refused = restored(&bed, &kept).await.map(drop).unwrap_err();
    assert!(
        matches!(&refused, Error::SnapshotUnfit { reason, .. } if reason.contains("volume data is gone")),
        "{refused:?}"
    );
    assert!(!path.exists());
    bed.knaller.remove_snapshot(&kept, false).await.unwrap();
    bed.knaller.create_volume(&volume, Some(32)).await.unwrap();
    bed.knaller.remove_volume(&volume).await.unwrap();
}

async fn restored(bed: &Bed, of: &knaller::Name) -> knaller::Result<knaller::Machine> {
    let mut nothing = |_| {};
    let restored = bed
        .knaller
        .restore(of, RestoreSpec::default(), StartOptions::default(), &mut nothing);
    restored.await.map(|(machine, _)| machine)
}
