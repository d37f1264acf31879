//! Snapshots that build on each other.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use knaller::{Error, Machine, Name, RestoreSpec, SnapshotInfo, SnapshotOptions, StartOptions, State};

use crate::support::{Bed, end, said, small};

/// A process that goes on counting in its memory, and tells where it is when asked to.
const COUNT: &str = "mkdir -p /run/c; (i=0; while true; do i=$((i+1)); echo $i > /run/c/n; sleep 0.1; done) >/dev/null 2>&1 </dev/null & \
                     until [ -s /run/c/n ]; do sleep 0.05; done";

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

async fn take(machine: &Machine, to: &str, diff: bool) -> SnapshotInfo {
    let options = SnapshotOptions {
        name: Some(name(to)),
        diff,
        ..SnapshotOptions::default()
    };
    machine
        .snapshot(options)
        .await
        .unwrap_or_else(|error| panic!("{to}: {error}"))
        .info
}

/// Writes `word` into memory and to the disk.
async fn mark(machine: &Machine, word: &str) {
    said(
        machine,
        &format!("echo {word} | tee /run/word > /root/word; head -c 300000 /dev/urandom > /run/more; sync"),
    )
    .await;
}

async fn restored(bed: &Bed, snapshot: &str, to: &str) -> Machine {
    let mut spec = RestoreSpec::default();
    spec.name = Some(name(to));
    let made = bed
        .knaller
        .restore(&name(snapshot), spec, StartOptions::default(), &mut |_| {})
        .await;
    made.unwrap_or_else(|error| panic!("{snapshot}: {error}")).0
}

/// Refuses a machine that is not what `word` was kept with, or whose processes do not go on.
async fn holds(machine: &Machine, word: &str) {
    assert_eq!(
        said(machine, "cat /run/word /root/word").await,
        format!("{word}\n{word}")
    );
    let at = said(machine, "cat /run/c/n").await;
    said(
        machine,
        &format!("until [ $(cat /run/c/n) -gt {at} ]; do sleep 0.1; done"),
    )
    .await;
}

fn folder(bed: &Bed, snapshot: &str) -> PathBuf {
    bed.knaller.options().paths.data.join("snapshots").join(snapshot)
}

fn inode(path: &Path) -> u64 {
    path.metadata().unwrap().ino()
}

/// A difference to nothing is a whole snapshot, and that is told. It goes again.
async fn whole(bed: &Bed, machine: &Machine, why: &str) {
    let taken = machine
        .snapshot(SnapshotOptions {
            diff: true,
            ..SnapshotOptions::default()
        })
        .await
        .unwrap();
    assert_eq!(taken.info.parent, None);
    assert!(
        matches!(taken.warnings.as_slice(), [told] if told.contains(why) && told.ends_with("all of it is kept")),
        "{taken:?}"
    );
    bed.knaller
        .remove_snapshot(&taken.info.name, false)
        .await
        .unwrap();
}

#[tokio::test]
async fn differences_hold_what_changed_and_are_made_whole() {
    let bed = Bed::new();
    let machine = bed.start(small("db").track_dirty(true)).await;
    said(&machine, COUNT).await;
    whole(&bed, &machine, "db has no snapshot").await;
    whole(&bed, &machine, "on which db builds, is gone").await;
    mark(&machine, "one").await;
    let base = take(&machine, "base", false).await;
    mark(&machine, "two").await;
    let first = take(&machine, "first", true).await;
    mark(&machine, "three").await;
    let second = take(&machine, "second", true).await;
    assert_eq!(
        (&first.parent, &second.parent),
        (&Some(name("base")), &Some(name("first")))
    );
    for diff in [&first, &second] {
        assert!(diff.size * 3 < base.size, "{} of {}", diff.size, base.size);
    }
    let base_memory = std::fs::read(folder(&bed, "base").join("memory")).unwrap();

    // Each shows its own moment, and machines of one share the pages of one file.
    for (snapshot, word) in [("base", "one"), ("first", "two"), ("second", "three")] {
        let clone = restored(&bed, snapshot, "clone").await;
        holds(&clone, word).await;
        let memory = inode(&folder(&bed, snapshot).join("memory"));
        let other = restored(&bed, snapshot, "other").await;
        holds(&other, word).await;
        assert_eq!(
            inode(&folder(&bed, snapshot).join("memory")),
            memory,
            "it was put together once"
        );
        end(&clone).await;
        end(&other).await;
    }
    assert!(bed.knaller.snapshot(&name("first")).await.unwrap().cached > first.size);
    assert_eq!(bed.knaller.prune_snapshots(&[]).await.unwrap().0, 2);
    assert_eq!(bed.knaller.snapshot(&name("first")).await.unwrap().cached, 0);

    // One that others build on stays, whole or not.
    let refused = bed
        .knaller
        .remove_snapshot(&name("base"), false)
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, Error::SnapshotNeeded { children, .. } if *children == [name("first")]),
        "{refused}"
    );
    let merged = bed.knaller.merge_snapshot(&name("first")).await.unwrap();
    assert_eq!((merged.parent, merged.cached), (None, 0));
    assert!(
        std::fs::read(folder(&bed, "base").join("memory")).unwrap() == base_memory,
        "the parent is as it was"
    );
    bed.knaller.remove_snapshot(&name("base"), false).await.unwrap();
    for (snapshot, word) in [("first", "two"), ("second", "three")] {
        let clone = restored(&bed, snapshot, "clone").await;
        holds(&clone, word).await;
        end(&clone).await;
    }
    let all = bed.knaller.remove_snapshot(&name("first"), true).await.unwrap();
    assert_eq!(all, [name("second"), name("first")]);
    end(&machine).await;
}

#[tokio::test]
async fn a_machine_of_a_snapshot_has_differences_to_it_and_forks_between_do_no_harm() {
    let bed = Bed::new();
    let machine = bed.start(small("db").track_dirty(true)).await;
    said(&machine, COUNT).await;
    mark(&machine, "one").await;
    take(&machine, "base", false).await;
    end(&machine).await;
    let machine = restored(&bed, "base", "web").await;
    mark(&machine, "two").await;
    // The VMM's own account of changes begins anew with a fork, which nobody keeps.
    let forks = machine
        .fork(vec![RestoreSpec::default()], StartOptions::default(), &mut |_| {})
        .await
        .unwrap();
    holds(&forks[0].0, "two").await;
    whole(&bed, &forks[0].0, "has no snapshot").await;
    end(&forks[0].0).await;
    said(&machine, "echo three > /root/word; sync").await;
    let diff = take(&machine, "diff", true).await;
    assert_eq!(diff.parent, Some(name("base")));
    let clone = restored(&bed, "diff", "clone").await;
    assert_eq!(said(&clone, "cat /run/word /root/word").await, "two\nthree");
    // A machine that its user has paused stays it.
    machine.pause().await.unwrap();
    take(&machine, "pieces", true).await;
    assert_eq!(machine.info().await.unwrap().state, State::Paused);
    machine.resume().await.unwrap();
    machine.stop(knaller::StopOptions::default()).await.unwrap();
    machine.start(StartOptions::default(), &mut |_| {}).await.unwrap();
    whole(&bed, &machine, "started anew since its snapshot pieces").await;
    end(&clone).await;
    end(&machine).await;
    // What a difference builds on is looked at before it is loaded.
    std::fs::rename(folder(&bed, "base"), folder(&bed, "elsewhere")).unwrap();
    let lost = bed
        .knaller
        .restore(
            &name("diff"),
            RestoreSpec::default(),
            StartOptions::default(),
            &mut |_| {},
        )
        .await;
    assert!(matches!(lost, Err(Error::ParentMissing { .. })), "{lost:?}");
    std::fs::rename(folder(&bed, "elsewhere"), folder(&bed, "base")).unwrap();
}
