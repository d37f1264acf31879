//! Chains made by hand, and merges of them that are killed before each of their steps.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::description::Description;
use super::super::difference;
use super::super::layers::Among;
use super::*;
use crate::handover::{MEMORY, STATE};
use crate::layout::OVERLAY;
use crate::record::Record;
use crate::{Class, MachineSpec};

mod steps;

/// Bytes of a guest's memory, and of its disk.
const SIZE: usize = 40 * 4096;

/// Where the child of a test finds its data folder.
const DATA: &str = "KNALLER_TEST_DATA";

fn paths(data: &Path) -> Paths {
    Paths {
        data: data.to_owned(),
        runtime: data.join("run"),
    }
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

/// What a guest has after so many rounds: the first page of zeros where it had others, one page more each.
fn contents(round: u8, salt: u8) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    bytes[4096..8 * 4096].fill(salt);
    for number in 1..=round {
        let at = usize::from(number) * 3 * 4096;
        bytes[at..at + 4096].fill(salt + number);
    }
    if round > 0 {
        bytes[4096..2 * 4096].fill(0);
    }
    bytes
}

fn write(path: &Path, bytes: &[u8]) {
    let file = fs::File::create_new(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (number, page) in bytes.chunks(4096).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, number as u64 * 4096).unwrap();
        }
    }
}

/// Makes a snapshot as `take` does: round 0 whole, the others as differences to the one before.
fn keep(paths: &Paths, to: &str, round: u8, parent: Option<&str>) {
    let snapshots = Snapshots::open(paths).unwrap();
    let record = Record::new(name("db"), paths.runtime.clone(), MachineSpec::new());
    let mut description = Description::new(name(to), record, "1.0".to_owned(), "cpu".to_owned());
    let fresh = snapshots.fresh(&name(to)).unwrap();
    let (memory, disk) = (contents(round, 10), contents(round, 20));
    fs::write(fresh.folder().join(STATE), [round; 100]).unwrap();
    write(&fresh.folder().join(MEMORY), &memory);
    match parent {
        None => write(&fresh.folder().join(OVERLAY), &disk),
        Some(parent) => {
            let below = snapshots.chain(&name(parent)).unwrap();
            let task = Task::new();
            difference::of_memory(fresh.folder(), &below, Among::All, &task).unwrap();
            let path = paths.data.join("disk");
            write(&path, &disk);
            difference::of_disk(&path, fresh.folder(), OVERLAY, &below, &task).unwrap();
            fs::remove_file(path).unwrap();
            description.parent = Some(below.description.as_parent().unwrap());
        }
    }
    description
        .measure(fresh.folder(), fresh.files().unwrap())
        .unwrap();
    fresh.finish(&description).unwrap();
}

/// `base` and, on each other, `one`, `two` and `three`.
fn chain(data: &Path) -> Paths {
    let paths = paths(data);
    keep(&paths, "base", 0, None);
    keep(&paths, "one", 1, Some("base"));
    keep(&paths, "two", 2, Some("one"));
    keep(&paths, "three", 3, Some("two"));
    paths
}

/// Refuses a snapshot that does not hold what it was taken with.
fn holds(paths: &Paths, of: &str, round: u8) {
    let held = Snapshots::open(paths).unwrap().chain(&name(of)).unwrap();
    held.ready(&Task::new()).unwrap();
    assert!(
        fs::read(held.memory()).unwrap() == contents(round, 10),
        "the memory of {of}"
    );
    let to = tempfile::tempdir().unwrap();
    let disk = to.path().join("disk");
    held.layers(OVERLAY)
        .unwrap()
        .unwrap()
        .write_to(&disk, &Task::new())
        .unwrap();
    assert!(fs::read(disk).unwrap() == contents(round, 20), "the disk of {of}");
    assert_eq!(fs::read(held.state()).unwrap(), [round; 100]);
}

fn all_hold(paths: &Paths) {
    for (round, of) in (0..).zip(["base", "one", "two", "three"]) {
        holds(paths, of, round);
    }
}

fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_merged_snapshot_is_what_it_was_and_needs_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let paths = chain(temp.path());
    all_hold(&paths);
    let merged = merge(&paths, &name("two"), &Task::new()).unwrap();
    assert_eq!((merged.parent, merged.cached), (None, 0));
    all_hold(&paths);
    let snapshots = Snapshots::open(&paths).unwrap();
    let two = snapshots.get(&name("two")).unwrap();
    assert_eq!(
        entries(two.folder()),
        ["memory", "overlay.ext4", "snapshot.json", "state"]
            .map(str::to_owned)
            .into()
    );
    drop(two);
    assert_eq!(
        snapshots.remove(&name("base"), true).unwrap(),
        ["one", "base"].map(name)
    );
    holds(&paths, "two", 2);
    holds(&paths, "three", 3);
    // Once more, and nothing happens.
    merge(&paths, &name("two"), &Task::new()).unwrap();
}

#[test]
fn what_a_chain_is_without_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let paths = chain(temp.path());
    let snapshots = Snapshots::open(&paths).unwrap();
    let needed = snapshots.remove(&name("one"), false).unwrap_err();
    assert_eq!(needed.class(), Class::Conflict);
    assert_eq!(needed.to_string(), "the snapshot one is needed by two");
    let held = snapshots.chain(&name("three")).unwrap();
    assert!(matches!(
        snapshots.remove(&name("base"), true),
        Err(Error::SnapshotBusy(_))
    ));
    assert!(matches!(
        merge(&paths, &name("two"), &Task::new()),
        Err(Error::SnapshotBusy(_))
    ));
    drop(held);

    let folder = |of: &str| temp.path().join("snapshots").join(of);
    let damaged = folder("one").join("memory.changes");
    let bytes = fs::read(&damaged).unwrap();
    let mut other = bytes.clone();
    other[3 * 4096] ^= 1;
    fs::write(&damaged, &other).unwrap();
    let error = snapshots
        .chain(&name("three"))
        .unwrap()
        .ready(&Task::new())
        .unwrap_err();
    assert!(
        matches!(&error, Error::SnapshotDamaged { name, .. } if name.as_str() == "one"),
        "{error}"
    );
    assert!(merge(&paths, &name("three"), &Task::new()).is_err());
    fs::write(&damaged, &bytes).unwrap();
    all_hold(&paths);

    // What was put together is not trusted either.
    let cached = folder("three").join(MEMORY);
    fs::write(&cached, vec![9; SIZE]).unwrap();
    holds(&paths, "three", 3);

    fs::rename(folder("base"), folder("away")).unwrap();
    let missing = snapshots.chain(&name("three")).unwrap_err();
    assert!(
        matches!(&missing, Error::ParentMissing { child, name } if (child.as_str(), name.as_str()) == ("one", "base")),
        "{missing}"
    );
    keep(&paths, "base", 5, None);
    let changed = snapshots.chain(&name("three")).unwrap_err();
    assert!(matches!(&changed, Error::ParentChanged { .. }), "{changed}");
    // That one is not what the others build on.
    assert_eq!(snapshots.remove(&name("base"), false).unwrap(), [name("base")]);
    fs::rename(folder("away"), folder("base")).unwrap();
    all_hold(&paths);
}

#[test]
fn a_chain_has_an_end() {
    let temp = tempfile::tempdir().unwrap();
    let paths = paths(temp.path());
    keep(&paths, "s1", 0, None);
    for number in 2..=32u8 {
        keep(
            &paths,
            &format!("s{number}"),
            number % 12,
            Some(&format!("s{}", number - 1)),
        );
    }
    holds(&paths, "s32", 32 % 12);
    let snapshots = Snapshots::open(&paths).unwrap();
    let last = snapshots.get(&name("s32")).unwrap();
    let parent = last.description.as_parent().unwrap();
    let error = snapshots.to_build_on(&name("db"), &parent).unwrap_err();
    assert!(matches!(&error, Error::ChainTooLong { limit: 32, .. }), "{error}");
    assert_eq!(
        error.hint().unwrap(),
        "make that one whole: knaller snapshot merge s32"
    );
    drop(last);
    merge(&paths, &name("s32"), &Task::new()).unwrap();
    snapshots.to_build_on(&name("db"), &parent).unwrap();
}

/// The child of [`a_merge_killed_before_any_step_leaves_the_one_or_the_other`].
#[test]
#[ignore = "a process of its own, for another test to kill"]
fn a_merge_alone() {
    let data = PathBuf::from(std::env::var_os(DATA).unwrap());
    merge(&paths(&data), &name("two"), &Task::new()).unwrap();
}

#[test]
fn a_merge_killed_before_any_step_leaves_the_one_or_the_other() {
    let temp = tempfile::tempdir().unwrap();
    let made = temp.path().join("made");
    fs::create_dir(&made).unwrap();
    chain(&made);
    let (mut before, mut after) = (0, 0);
    for step in 0.. {
        let data = temp.path().join("data");
        let copied = Command::new("cp")
            .arg("-a")
            .args([&made, &data])
            .status()
            .unwrap();
        assert!(copied.success());
        let mut merge = Command::new(std::env::current_exe().unwrap());
        merge
            .args([
                "--exact",
                "snapshot::merge::tests::a_merge_alone",
                "--ignored",
                "--test-threads=1",
            ])
            .env(DATA, &data);
        let killed = steps::killed_before(&mut merge, step);
        let paths = paths(&data);
        let parent = Snapshots::open(&paths)
            .unwrap()
            .get(&name("two"))
            .unwrap()
            .description
            .parent;
        match parent {
            Some(_) => before += 1,
            None => after += 1,
        }
        // The next command has taken away what was left.
        let expected = ["base", "one", "two", "three"].map(str::to_owned);
        assert_eq!(entries(&data.join("snapshots")), expected.into(), "step {step}");
        all_hold(&paths);
        super::merge(&paths, &name("two"), &Task::new()).unwrap();
        all_hold(&paths);
        fs::remove_dir_all(&data).unwrap();
        if !killed {
            break;
        }
    }
    // Killed often enough on both sides of the exchange.
    assert!(before > 20 && after > 2, "{before} before, {after} after");
}
