//! Machines on disks that their caller owns.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use images::Task;
use images::builtin::builtin_image;
use knaller::{
    Class, Error, Exit, Knaller, MachineSpec, Origin, RawSnapshot, RestoreSpec, Root, SnapshotOptions,
    StartOptions, State, StopOptions,
};
use testkit::{LoopDevice, is_root};

use crate::support::{Bed, bare, end, said, small};

/// A disk of the caller's: the built-in image, with room and a journal.
pub(crate) fn disk(bed: &Bed, name: &str) -> PathBuf {
    let base = builtin_image(&bed.knaller.options().paths.data, &Task::new()).unwrap();
    let path = bed.sandbox.path().join(name);
    std::fs::copy(base.path, &path).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(256 << 20)
        .unwrap();
    for line in [
        "tune2fs -O ^read-only",
        "resize2fs -f",
        "tune2fs -j",
        "e2fsck -fp",
    ] {
        tool(line, &path);
    }
    path
}

/// Runs a tool of e2fsprogs on a disk.
pub(crate) fn tool(line: &str, path: &Path) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .arg(path)
        .output()
        .unwrap();
    // e2fsck ends with 1 when it has put something right, which -n never does.
    let code = output.status.code().unwrap();
    let fine = code == 0 || (code == 1 && line.ends_with("-fp"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(fine, "{line}: {said} {}", String::from_utf8_lossy(&output.stderr));
}

fn sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn on(path: &Path, name: &str) -> MachineSpec {
    bare(name).root(Root::Raw(path.to_owned()))
}

#[tokio::test]
async fn a_disk_of_the_callers_is_the_root_and_stays_the_callers() {
    let bed = Bed::new();
    let path = disk(&bed, "own.ext4");
    let link = bed.sandbox.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let machine = bed.start(on(&path, "db")).await;
    said(&machine, "echo kept > /root/file && sync").await;
    // Of root's machines it is one that stays root's, and this is said.
    let jail = machine.info().await.unwrap().jail.unwrap();
    let told = jail.without.iter().any(|part| part.contains("own.ext4"));
    assert_eq!((jail.user, told), (None, is_root()), "{jail:?}");
    // No second machine has it, by whatever name, nor as a volume, while the first one runs.
    for spec in [
        on(&link, "other"),
        on(&path, "reader").read_only(),
        small("third").volume(format!("{}:/data:ro", path.display()).parse().unwrap()),
    ] {
        let error = bed.try_start(spec).await.unwrap_err();
        assert!(error.to_string().contains("db"), "{error}");
        assert_eq!(error.class(), Class::Conflict);
    }
    // What it is at one moment, its owner alone can keep.
    let refused = machine.snapshot(SnapshotOptions::default()).await.unwrap_err();
    assert!(refused.hint().unwrap().contains("create_raw"), "{refused}");
    let forked = machine
        .fork(vec![RestoreSpec::default()], StartOptions::default(), &mut |_| {})
        .await;
    assert!(matches!(forked, Err(Error::OwnersDisk { .. })));
    let image = "mine:1".parse().unwrap();
    let committed = machine.commit(&image, Arc::new(|_| {})).await;
    assert!(matches!(committed, Err(Error::NoImageToCommit(_))));
    // Another program takes charge of it as of any machine, and hears of its end.
    let adopted = Knaller::open(bed.knaller.options().clone()).unwrap();
    let adopted = adopted.adopt("db").await.unwrap();
    assert_eq!(adopted.state(), State::Running);
    assert_eq!(said(adopted.machine(), "cat /root/file").await, "kept");
    let (exit, stopped) = tokio::join!(adopted.ended(), machine.stop(StopOptions::default()));
    stopped.unwrap();
    assert_eq!(exit.unwrap(), Exit::Off);
    let machine = machine.rename(&"sql".parse().unwrap()).await.unwrap();
    machine.start(StartOptions::default(), &mut |_| {}).await.unwrap();
    assert_eq!(machine.info().await.unwrap().origin, Origin::Warm);
    assert_eq!(said(&machine, "cat /root/file").await, "kept");
    machine.stop(StopOptions::default()).await.unwrap();
    tool("e2fsck -fn", &path);
    let before = sum(&path);
    // None of it is in the machine's folder, and none of it goes with that.
    let folder = machine.folder();
    let own = std::fs::read_dir(&folder).unwrap().flatten();
    assert!(
        own.into_iter()
            .all(|entry| !entry.file_name().to_string_lossy().ends_with(".ext4"))
    );
    let usage = bed.knaller.disk_usage(true).await.unwrap();
    assert!(
        usage.machines.size < 8 << 20 && usage.volumes.count == 0,
        "{usage:?}"
    );
    bed.knaller.prune(true).await.unwrap();
    machine.remove().await.unwrap();
    assert!(!folder.exists());
    assert_eq!(sum(&path), before);
}

#[tokio::test]
async fn many_machines_read_one_disk_and_none_writes_to_it() {
    let bed = Bed::new();
    let path = disk(&bed, "own.ext4");
    let before = sum(&path);
    let one = bed.start(on(&path, "one").read_only()).await;
    let two = bed.start(on(&path, "two").read_only()).await;
    assert_eq!(two.info().await.unwrap().origin, Origin::Warm);
    for machine in [&one, &two] {
        let tried = said(
            machine,
            "touch /root/file 2>&1 || true; cat /sys/block/vda/ro; hostname",
        )
        .await;
        assert!(tried.contains("Read-only") && tried.contains("\n1\n"), "{tried}");
        assert!(tried.ends_with(machine.name().as_str()), "{tried}");
    }
    let error = bed.try_start(on(&path, "writer")).await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict, "{error}");
    // Of a disk that nobody changes a snapshot needs no copy.
    let options = SnapshotOptions::default();
    let taken = one.snapshot(options).await.unwrap();
    let name = &taken.info.name;
    let restored = bed
        .knaller
        .restore(name, RestoreSpec::default(), StartOptions::default(), &mut |_| {})
        .await;
    let (restored, _) = restored.unwrap();
    assert!(said(&restored, "ls /bin/busybox").await.contains("busybox"));
    let mut archive = Vec::new();
    let exported = bed.knaller.export_snapshot(name, &mut archive, &Task::new());
    assert!(exported.unwrap_err().to_string().contains("own.ext4"));
    for machine in [&restored, &two, &one] {
        end(machine).await;
    }
    assert_eq!(sum(&path), before);
}

#[tokio::test]
async fn what_is_no_disk_of_a_machine_is_refused_without_a_trace() {
    let bed = Bed::new();
    let path = bed.sandbox.path().join("disk");
    let file = File::create_new(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    for (path, class, words) in [
        (path.clone(), Class::Image, "mkfs.ext4"),
        (
            bed.sandbox.path().to_owned(),
            Class::Image,
            "neither a block device nor a regular file",
        ),
        (bed.sandbox.path().join("no"), Class::NotFound, "no file"),
    ] {
        let error = bed.try_start(on(&path, "no")).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.class(), class, "{error}");
    }
    assert!(bed.knaller.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_block_device_is_a_root_and_the_kernel_keeps_it_for_its_machine() {
    let bed = Bed::new();
    let path = disk(&bed, "own.ext4");
    let Some(device) = LoopDevice::over(&path) else {
        return testkit::skip(
            "a_block_device_is_a_root_and_the_kernel_keeps_it_for_its_machine",
            "loop device",
        );
    };
    let machine = bed.start(on(device.path(), "db")).await;
    let read = "mount | grep ' / '; echo kept > /root/file; sync; cat /root/file";
    assert!(said(&machine, read).await.ends_with("kept"));
    // The file below it is the same disk.
    let error = bed.try_start(on(&path, "other")).await.unwrap_err();
    assert!(error.to_string().contains("db"), "{error}");
    // Other folders, as another user has them, know nothing of this machine; the kernel does.
    let foreign = Bed::new();
    let error = foreign.try_start(on(device.path(), "other")).await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict, "{error}");
    let folder = bed.sandbox.path().join("mounted");
    std::fs::create_dir(&folder).unwrap();
    let mounted = Command::new("mount")
        .args([device.path(), &folder])
        .output()
        .unwrap();
    assert!(!mounted.status.success(), "the host mounted a machine's disk");
    machine.stop(StopOptions::default()).await.unwrap();
    // It is free again at once.
    machine.start(StartOptions::default(), &mut |_| {}).await.unwrap();
    assert_eq!(said(&machine, "cat /root/file").await, "kept");
    machine.stop(StopOptions::default()).await.unwrap();
    machine.remove().await.unwrap();
    drop(device);
    tool("e2fsck -fn", &path);
}

#[tokio::test]
async fn a_copy_is_as_large_as_it_was_asked_for() {
    let bed = Bed::new();
    let path = disk(&bed, "own.ext4");
    let before = sum(&path);
    let machine = bed
        .start(bare("large").root(Root::File(path.clone())).disk_mib(512))
        .await;
    let kibibytes: u64 = said(&machine, "df -k / | tail -1 | tr -s ' ' | cut -d' ' -f2")
        .await
        .parse()
        .unwrap();
    assert!((480 << 10..=512 << 10).contains(&kibibytes), "{kibibytes}");
    said(
        &machine,
        "dd if=/dev/zero of=/root/large bs=1M count=300 2>/dev/null && sync && rm /root/large",
    )
    .await;
    machine.stop(StopOptions::default()).await.unwrap();
    let copy = machine.folder().join("rootfs.ext4");
    assert_eq!(copy.metadata().unwrap().len(), 512 << 20);
    tool("e2fsck -fn", &copy);
    machine.remove().await.unwrap();
    assert_eq!(sum(&path), before);
}

/// Two files beside a disk.
fn beside(disk: &Path) -> [PathBuf; 2] {
    ["state", "memory"].map(|ending| disk.with_extension(ending))
}

/// Whether the machine runs, its programs too.
async fn goes_on(machine: &knaller::Machine) {
    assert_eq!(machine.info().await.unwrap().state, State::Running);
    said(machine, "echo on > /root/on && sync").await;
}

async fn restore(
    bed: &Bed,
    snapshot: &RawSnapshot,
    disks: Vec<PathBuf>,
) -> knaller::Result<knaller::Machine> {
    let mut spec = RestoreSpec::default();
    spec.name = Some("db2".parse().unwrap());
    let restored = bed
        .knaller
        .restore_raw(
            snapshot.clone(),
            disks,
            spec,
            StartOptions::default(),
            &mut |_| {},
        )
        .await;
    restored.map(|(machine, _)| machine)
}

#[tokio::test]
async fn a_caller_keeps_its_disk_in_the_moment_in_which_the_machine_stands_still() {
    let bed = Bed::new();
    let path = disk(&bed, "own.ext4");
    let copy = bed.sandbox.path().join("copy.ext4");
    let machine = bed.start(on(&path, "db")).await;
    // Never written out by the guest itself: that is what freezing is for.
    said(&machine, "echo before > /root/file; echo alive > /run/memory").await;
    let [state, memory] = beside(&path);
    let mut seen = None;
    let taken = machine
        .create_raw(&state, &memory, async |paused| {
            seen = Some(machine.info().await.unwrap().state);
            assert_eq!(paused.disks, std::slice::from_ref(&path));
            assert!(paused.state.exists() && paused.memory.exists());
            std::fs::copy(&path, &copy).map(drop)
        })
        .await
        .unwrap();
    assert_eq!(seen, Some(State::Paused));
    assert!(!taken.paused.is_zero() && taken.warnings.is_empty());
    goes_on(&machine).await;
    tool("e2fsck -fn", &copy);
    said(&machine, "echo after > /root/file; sync").await;
    // Of the snapshot nothing is in the folders, and its files are not written over.
    assert!(bed.knaller.snapshots().await.unwrap().is_empty());
    let again = machine
        .create_raw(&state, &memory, async |_| std::io::Result::Ok(()))
        .await;
    assert!(again.is_err() && state.exists() && memory.exists());
    let new = path.with_extension("new");
    let both = machine
        .create_raw(&new, &new, async |_| std::io::Result::Ok(()))
        .await;
    assert!(both.is_err() && !new.exists());

    let json = serde_json::to_string(&taken.snapshot).unwrap();
    let snapshot: RawSnapshot = serde_json::from_str(&json).unwrap();
    assert_eq!(snapshot.disks(), 1);
    let restore = |disks| restore(&bed, &snapshot, disks);
    let none = restore(Vec::new()).await.unwrap_err();
    assert!(matches!(none, Error::RawDisks { wanted: 1, given: 0 }), "{none}");
    let same = restore(vec![path.clone()]).await.unwrap_err();
    assert_eq!(same.class(), Class::Conflict, "{same}");
    let second = restore(vec![copy.clone()]).await.unwrap();
    assert_eq!(
        said(&second, "cat /root/file /run/memory; hostname").await,
        "before\nalive\ndb2"
    );
    second.stop(StopOptions::default()).await.unwrap();
    // It is a machine on a raw disk like any other.
    second.start(StartOptions::default(), &mut |_| {}).await.unwrap();
    assert_eq!(said(&second, "cat /root/file").await, "before");
    second.stop(StopOptions::default()).await.unwrap();
    second.remove().await.unwrap();
    tool("e2fsck -fn", &copy);
    end(&machine).await;
}

#[tokio::test]
async fn the_machine_goes_on_whatever_becomes_of_the_callers_part() {
    let bed = Bed::new();
    let path = disk(&bed, "own.ext4");
    let machine = bed.start(on(&path, "db")).await;
    let [state, memory] = beside(&path);
    let nothing_left = || assert!(!state.exists() && !memory.exists());

    let failed = machine
        .create_raw(&state, &memory, async |_| {
            Err(std::io::Error::other("no room for the copy"))
        })
        .await;
    let error = failed.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        matches!(error, Error::WhilePaused(_)) && cause.contains("no room"),
        "{error}"
    );
    nothing_left();
    goes_on(&machine).await;

    let (reached, wait) = tokio::sync::oneshot::channel::<()>();
    {
        let mut snapshot = std::pin::pin!(machine.create_raw(&state, &memory, async |_| {
            let _ = reached.send(());
            std::future::pending::<std::io::Result<()>>().await
        }));
        tokio::select! {
            biased;
            taken = &mut snapshot => panic!("{taken:?}"),
            reached = wait => reached.unwrap(),
        }
    }
    nothing_left();
    goes_on(&machine).await;

    let panics = {
        let (machine, state, memory) = (machine.clone(), state.clone(), memory.clone());
        tokio::spawn(async move {
            let hook = async |_| -> std::io::Result<()> { panic!("as a caller's bug does") };
            machine.create_raw(&state, &memory, hook).await
        })
    };
    assert!(panics.await.unwrap_err().is_panic());
    nothing_left();
    goes_on(&machine).await;
    end(&machine).await;

    let own = bed.start(small("own")).await;
    let refused = own
        .create_raw(&state, &memory, async |_| std::io::Result::Ok(()))
        .await;
    assert!(matches!(refused, Err(Error::NotOwnersDisk(_))));
    end(&own).await;
}
