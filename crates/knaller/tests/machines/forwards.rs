//! Ports that come and go while their machine runs.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use knaller::{Error, Forward, Machine, MachineSpec, Update, Updated};
use rustix::process::{Pid, Signal, kill_process};

use crate::network::{ask, ask_udp, debian, default_route, refuses, said_before_it_was_cut, serve};
use crate::support::{Bed, PATIENCE, end};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

pub(crate) fn update(forwards: &[Forward]) -> Update {
    let mut update = Update::default();
    update.forwards = Some(forwards.to_vec());
    update
}

pub(crate) async fn change(machine: &Machine, forwards: &[Forward]) -> (Updated, Vec<Forward>) {
    let updated = machine.update(update(forwards)).await.unwrap();
    assert_eq!(updated.now, ["port forwards"]);
    (updated, machine.info().await.unwrap().forwards)
}

fn forward(text: &str) -> Forward {
    text.parse().unwrap()
}

/// The processes that carry a machine's ports.
fn relays(instance: &str) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number| {
            let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&&b"errand"[..]) && words.get(2) == Some(&instance.as_bytes())
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// Has it look as if whoever added all forwards but the first ones was killed before that was written down, and the next command
/// come by.
pub(crate) async fn broken_off(bed: &Bed, name: &str, before: usize) {
    let path = bed.sandbox.data().join(format!("knaller/vms/{name}/vm.json"));
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["forwards"].as_array_mut().unwrap().truncate(before);
    record["changed"]["under_way"] = true.into();
    std::fs::write(&path, record.to_string()).unwrap();
    let _ = bed.knaller.list().await.unwrap();
}

/// The sixth field of proc_pid_stat(5); the name in the second may hold anything.
fn session(process: &str) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(3).unwrap().to_owned()
}

/// A connection that the guest has accepted, which waits to be asked.
fn open(forward: Forward) -> TcpStream {
    let stream = TcpStream::connect((V4, forward.host_port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the guest answers to one that was opened.
fn answer(mut stream: TcpStream) -> Option<String> {
    let mut text = String::new();
    stream.write_all(b"x").ok()?;
    stream.read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

/// What comes by one that was cut, before its end, once it was used.
fn told(mut stream: TcpStream) -> usize {
    // The first packet may have been told already.
    let _ = stream.write_all(b"x");
    said_before_it_was_cut(stream)
}

fn leads(address: IpAddr, forward: Forward) -> bool {
    ask(address, forward).is_some_and(|text| text == "tcp")
}

/// By a port of pasta's, which stays bound, and by one that came later; from the host's loopback, where pasta makes connections
/// of its own in the machine's network, and from elsewhere, where it passes packets on.
#[tokio::test]
async fn whoever_uses_a_forward_that_goes_is_told() {
    let bed = Bed::new();
    let wishes = ["0:7001", "0:7002/udp", "0:7004"].map(forward);
    let spec = wishes.into_iter().fold(debian("web"), MachineSpec::forward);
    let machine = bed.start(spec).await;
    let _server = serve(&machine).await;
    let own = machine.info().await.unwrap().forwards;
    let later = ["0:7001", "0:7002/udp", "0:7004"].map(forward);
    let (_, all) = change(&machine, &[&own[..], &later].concat()).await;
    let addresses = [Some(V4), Some(V6), default_route().map(|(_, own)| own.into())];
    let addresses: Vec<IpAddr> = addresses.into_iter().flatten().collect();
    let with_port = |port: u16| {
        let of_port = all.iter().filter(move |forward| forward.guest_port == port);
        of_port.flat_map(|forward| addresses.iter().map(|address| (*address, *forward)))
    };
    for again in [false, true] {
        let (mut asking, mut listening) = (Vec::new(), Vec::new());
        for (address, forward) in with_port(7001) {
            asking.push(TcpStream::connect((address, forward.host_port)).unwrap());
        }
        for (address, forward) in with_port(7004) {
            let mut stream = TcpStream::connect((address, forward.host_port)).unwrap();
            stream.write_all(b"x").unwrap();
            let begun = stream.read_exact(&mut [0]);
            begun.unwrap_or_else(|error| panic!("{address} {forward}, {again}: {error}"));
            listening.push(stream);
        }
        let datagrams = UdpSocket::bind((V4, 0)).unwrap();
        datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
        datagrams.connect((V4, all[4].host_port)).unwrap();
        datagrams.send(b"x").unwrap();
        datagrams.recv(&mut [0; 3]).unwrap();

        let (updated, forwards) = change(&machine, &[]).await;
        assert_eq!(forwards, []);
        assert_eq!(updated.next_start, ["release of host ports that lead nowhere"]);
        for (address, forward) in with_port(7001).chain(with_port(7004)) {
            assert!(refuses(address, forward), "{address} {forward}, {again}");
        }
        for stream in listening {
            let _ = said_before_it_was_cut(stream);
        }
        for stream in asking {
            assert_eq!(told(stream), 0, "{again}");
        }
        let refused = datagrams.send(b"x").and_then(|_| datagrams.recv(&mut [0; 3]));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);

        let (_, forwards) = change(&machine, &all).await;
        assert_eq!(forwards, all);
        for (address, forward) in with_port(7001) {
            assert!(leads(address, forward), "{address} {forward}, {again}");
        }
        for (address, forward) in with_port(7002) {
            assert_eq!(
                ask_udp(address, forward).as_deref(),
                Some("udp"),
                "{address} {forward}"
            );
        }
    }
    end(&machine).await;
}

#[tokio::test]
async fn ports_come_and_go_while_a_machine_runs() {
    let bed = Bed::new();
    let machine = bed.start(debian("web").forward(forward("0:7001"))).await;
    let _server = serve(&machine).await;
    let info = machine.info().await.unwrap();
    let instance = info.instance;
    let first = info.forwards[0];

    let wishes = ["0:7001", "127.0.0.1:0:7001", "[::1]:0:7001", "0:7002/udp"].map(forward);
    let (updated, forwards) = change(&machine, &wishes).await;
    assert!(updated.next_start.is_empty(), "{updated:?}");
    let [same, v4, v6, udp] = forwards[..] else {
        panic!("{forwards:?}")
    };
    assert_eq!(same, first, "what was chosen stays");
    assert!(leads(V4, first) && leads(V4, v4) && leads(V6, v6));
    for address in [V4, V6]
        .into_iter()
        .chain(default_route().map(|(_, own)| own.into()))
    {
        // The answer comes from where it was asked for.
        let peer = UdpSocket::bind(SocketAddr::new(if address.is_ipv4() { V4 } else { V6 }, 0));
        let peer = peer.unwrap();
        if address.is_loopback() {
            peer.connect((address, udp.host_port)).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.send(b"x").unwrap();
            peer.recv(&mut [0; 3]).unwrap();
        }
        assert_eq!(ask_udp(address, udp), Some("udp".to_owned()), "{address}");
    }
    let started = relays(&instance);
    assert_eq!(started.len(), 3);
    let info = machine.info().await.unwrap();
    let own = rustix::process::geteuid().as_raw();
    let user = info.jail.and_then(|jail| jail.user).unwrap_or(own);
    for pid in &started {
        let pid = pid.as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(
            status.contains(&format!("Uid:\t{user}\t{user}\t{user}\t")),
            "{user}\n{status}"
        );
        assert_ne!(session(&pid.to_string()), session("self"));
        for line in [
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "CapBnd:\t0000000000000000",
        ] {
            assert!(status.contains(line), "{line}\n{status}");
        }
        let names = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        for file in names.filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
            assert!(
                file == Path::new("/dev/null") || !file.is_absolute(),
                "{}",
                file.display()
            );
        }
    }

    // A port that is taken changes nothing.
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut refused = update(&[forwards[0], forward(&format!("{port}:7001")), forward("0:7003")]);
    refused.labels.insert("a".to_owned(), Some("b".to_owned()));
    let error = machine.update(refused).await.unwrap_err();
    assert!(
        matches!(error, Error::PortTaken { port: of, .. } if of == port),
        "{error}"
    );
    let info = machine.info().await.unwrap();
    assert_eq!(
        (&info.forwards, &info.spec.forwards[..]),
        (&forwards, &wishes[..])
    );
    assert!(info.spec.labels.is_empty());
    assert!(leads(V4, first) && leads(V4, v4));

    // One goes, and only that.
    let (kept, cut) = (open(v4), open(first));
    let (updated, forwards) = change(&machine, &[first, v4, udp]).await;
    assert!(updated.next_start.is_empty());
    assert_eq!(forwards, [first, v4, udp]);
    assert!(refuses(V6, v6));
    drop(TcpListener::bind((V6, v6.host_port)).unwrap());
    assert_eq!(answer(kept).as_deref(), Some("tcp"));

    // pasta keeps its port, which leads nowhere, for what was open too.
    let (updated, forwards) = change(&machine, &[v4, udp]).await;
    assert_eq!(updated.next_start, ["release of host ports that lead nowhere"]);
    assert_eq!(forwards, [v4, udp]);
    assert!(refuses(V4, first) && leads(V4, v4));
    assert_eq!(told(cut), 0);
    // To another port, on which nobody listens, and back again.
    let other = Forward {
        guest_port: 7009,
        ..first
    };
    let (updated, forwards) = change(&machine, &[v4, other]).await;
    assert!(updated.next_start.is_empty());
    assert_eq!(forwards, [v4, other]);
    assert!(refuses(V4, first));
    let (_, forwards) = change(&machine, &[first, v4, udp]).await;
    assert_eq!(forwards, [first, v4, udp]);
    assert!(leads(V4, first) && leads(V4, v4));
    assert_eq!(ask_udp(V4, udp), Some("udp".to_owned()));

    // Who carries one is killed: nothing claims that it leads there, and the next command has it so again.
    for pid in relays(&instance) {
        kill_process(pid, Signal::KILL).unwrap();
    }
    while !relays(&instance).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(machine.info().await.unwrap().forwards, [first]);
    let healed = bed.knaller.prune(false).await.unwrap();
    let healed: Vec<String> = healed.iter().map(ToString::to_string).collect();
    assert_eq!(
        healed,
        ["port forwards of web were broken off: they lead to it again"]
    );
    assert_eq!(machine.info().await.unwrap().forwards, [first, v4, udp]);
    assert!(leads(V4, v4));

    broken_off(&bed, "web", 2).await;
    assert_eq!(machine.info().await.unwrap().forwards, [first, v4]);
    assert_eq!(relays(&instance).len(), 1);
    drop(UdpSocket::bind((V4, udp.host_port)).unwrap());
    assert!(leads(V4, first) && leads(V4, v4));

    // Nothing outlives the VMM, whoever ends it.
    let vmm = machine.info().await.unwrap().pid.unwrap();
    let vmm = Pid::from_raw(vmm.try_into().unwrap()).unwrap();
    kill_process(vmm, Signal::KILL).unwrap();
    let _ = machine.wait().await.unwrap();
    assert!(relays(&instance).is_empty());
    drop(TcpListener::bind((V4, v4.host_port)).unwrap());
    machine.remove().await.unwrap();
}
