//! `knaller snapshot create --diff` and `merge`.

use std::process::Command;

use serde_json::Value;
use testkit::{is_root, skip};

use crate::world::{Running, World};

fn inspected(world: &World, snapshot: &str) -> Value {
    let all: Value =
        serde_json::from_str(&world.ok(&["snapshot", "inspect", snapshot, "-o", "json"])).unwrap();
    all.get(0).cloned().unwrap_or(all)
}

#[test]
fn snapshots_build_on_each_other_until_they_are_merged() {
    let here = World::new();
    here.start("db", &["--track-dirty"]);
    here.shell("db", "echo one > /run/word; echo one > /etc/word");
    let first = here.run(&["snapshot", "create", "db", "--name", "base", "--diff"]);
    assert!(
        first
            .stderr
            .contains("db has no snapshot that a difference could build on: all of it is kept"),
        "{first}"
    );
    here.shell("db", "echo two > /run/word; echo two > /etc/word");
    let taken = here.run(&["snapshot", "create", "db", "--name", "next", "--diff", "--stop"]);
    assert!(
        taken.stderr.contains("snapshot next of db is made on base, "),
        "{}",
        taken.stderr
    );
    let _ = here.ok(&["rm", "db"]);
    let (base, next) = (inspected(&here, "base"), inspected(&here, "next"));
    assert_eq!(
        (&base["parent"], &next["parent"]),
        (&Value::Null, &Value::from("base"))
    );
    assert!(
        next["size"].as_u64().unwrap() * 3 < base["size"].as_u64().unwrap(),
        "{next} on {base}"
    );
    here.run(&["snapshot", "rm", "base"]).fails(
        4,
        &[
            "the snapshot base is needed by next",
            "knaller snapshot merge next",
            "knaller snapshot rm --recursive base",
        ],
    );

    // One file has all of it, and there it builds on nothing.
    let file = here.sandbox.home().join("next.tar.zst");
    let path = file.to_str().unwrap();
    let _ = here.ok(&["snapshot", "export", "next", "-o", path]);
    let there = World::new();
    let _ = there.ok(&["snapshot", "import", path]);
    assert_eq!(inspected(&there, "next")["parent"], Value::Null);
    let _ = there.ok(&["start", "copy", "--from-snapshot", "next", "--detach"]);
    assert_eq!(there.shell("copy", "cat /run/word /etc/word"), "two\ntwo\n");
    there.stop_and_remove("copy");
    let _ = there.ok(&["snapshot", "rm", "next"]);

    // What was put together for it goes with a prune, and is counted as what can.
    assert!(inspected(&here, "next")["cached"].as_u64().unwrap() > 0);
    let df: Vec<Value> = serde_json::from_str(&here.ok(&["system", "df", "-o", "json"])).unwrap();
    let snapshots = df.iter().find(|kind| kind["kind"] == "snapshots").unwrap();
    assert_eq!(snapshots["reclaimable"], inspected(&here, "next")["cached"]);
    let pruned = here.ok(&["system", "prune", "--force"]);
    assert!(pruned.contains("1 no longer cached"), "{pruned}");
    assert_eq!(inspected(&here, "next")["cached"], 0);

    let merged = here.run(&["snapshot", "merge", "next"]);
    assert!(
        merged.stderr.contains("snapshot next needs no other"),
        "{}",
        merged.stderr
    );
    let _ = here.ok(&["snapshot", "rm", "base"]);
    let _ = here.ok(&["start", "copy", "--from-snapshot", "next", "--detach"]);
    assert_eq!(here.shell("copy", "cat /run/word /etc/word"), "two\ntwo\n");
    here.stop_and_remove("copy");
    let _ = here.ok(&["snapshot", "rm", "next"]);
    here.sandbox.assert_clean();
    there.sandbox.assert_clean();
}

#[test]
fn a_difference_for_which_there_is_no_room() {
    if !is_root() {
        return skip(
            "a_difference_for_which_there_is_no_room",
            "root, who may mount a small disk",
        );
    }
    let world = World::new();
    let snapshots = world.sandbox.data().join("knaller/snapshots");
    let small = "mkdir -m 700 \"$0\" && mount -t tmpfs -o mode=700,size=512m none \"$0\" && echo mounted && exec sleep infinity";
    let mut holder = Command::new("unshare");
    holder.args(["--mount", "sh", "-c", small]).arg(&snapshots);
    let mut holder = Running::new(&mut holder);
    holder.line("mounted");
    let enter = format!("--mount=/proc/{}/ns/mnt", holder.child.id());
    let world = world.through(["nsenter", &enter]);
    let inside = |command: &str| {
        let line = ["sh", "-c", command, "sh", snapshots.to_str().unwrap()];
        testkit::run(Command::new("nsenter").arg(&enter).args(line)).ok()
    };

    world.start("db", &[]);
    let _ = world.ok(&["snapshot", "create", "db", "--name", "base"]);
    world.shell("db", "head -c 20000000 /dev/urandom > /run/more");
    // As much room as is taken, and 4 MiB more.
    let _ = inside("mount -o remount,size=$(($(du -sm \"$1\" | cut -f1) + 4))m \"$1\"");
    let refused = world.run(&["snapshot", "create", "db", "--name", "next", "--diff"]);
    refused.fails(8, &["its disk is full"]);
    assert_eq!(world.shell("db", "wc -c < /run/more"), "20000000\n");
    assert_eq!(world.ok(&["snapshot", "ls", "-o", "name"]), "base\n");
    assert_eq!(inside("ls -A \"$1\""), "base\n");
    // With room it is taken after all, though the VMM's account of changes is lost.
    let _ = inside("mount -o remount,size=512m \"$1\"");
    let _ = world.ok(&["snapshot", "create", "db", "--name", "next", "--diff"]);
    let _ = world.ok(&["start", "copy", "--from-snapshot", "next", "--detach"]);
    assert_eq!(world.shell("copy", "wc -c < /run/more"), "20000000\n");
    let _ = world.ok(&["rm", "--force", "copy", "db"]);
    drop(holder);
    world.sandbox.assert_clean();
}
