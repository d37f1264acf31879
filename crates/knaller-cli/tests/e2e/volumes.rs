//! Volumes: what is on them outlives the machines, and nobody writes where another does.

use crate::world::World;

const RUN: [&str; 3] = ["run", "--memory", "128M"];

impl World {
    /// Runs a line in a machine of its own with this volume.
    #[track_caller]
    fn with_volume(&self, volume: &str, line: &str) -> String {
        self.ok(&[&RUN[..], &["--volume", volume, "builtin", "sh", "-c", line]].concat())
    }
}

#[test]
fn what_is_written_outlives_the_machine() {
    let world = World::new();
    world.with_volume("data:/srv/data", "echo kept > /srv/data/file");
    assert_eq!(
        world.with_volume("data:/other/place:ro", "cat /other/place/file"),
        "kept\n"
    );
    world
        .run(
            &[
                &RUN[..],
                &["--volume", "data:/srv:ro", "builtin", "touch", "/srv/x"],
            ]
            .concat(),
        )
        .fails(1, &["Read-only file system"]);
    let listed = world.ok(&["volume", "ls", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["size"]),
        (&"data".into(), &(8_u64 << 30).into())
    );
    assert!(listed[0]["taken"].as_u64().unwrap() < 1 << 20, "{listed}");
    let _ = world.ok(&["volume", "rm", "data"]);
    world
        .run(&["volume", "rm", "data"])
        .fails(3, &["there is no volume named data"]);
    world.sandbox.assert_clean();
}

#[test]
fn the_copy_of_a_volume_follows_its_machine_to_another_name() {
    let world = World::new();
    let _ = world.ok(&["volume", "create", "data", "--size", "64M"]);
    world.start("first", &["--network", "none", "--volume", "data:/data"]);
    world.shell("first", "echo base > /data/file; sync");
    let _ = world.ok(&["snapshot", "create", "first", "--name", "kept"]);
    let restore = ["start", "copy", "--detach", "--from-snapshot", "kept"];
    let _ = world.ok(&restore);
    world.shell("copy", "echo alice > /data/file; sync");
    // While it runs, and what is made of it then has its data.
    let _ = world.ok(&["rename", "copy", "alice"]);
    let _ = world.ok(&["fork", "alice", "--name", "fork"]);
    assert_eq!(world.shell("fork", "cat /data/file"), "alice\n");
    let _ = world.ok(&["stop", "alice", "fork"]);
    // Another of the name that it had has its own.
    let _ = world.ok(&restore);
    assert_eq!(world.shell("copy", "cat /data/file"), "base\n");
    world.shell("copy", "echo bob > /data/file; sync");
    let _ = world.ok(&["stop", "copy"]);
    let _ = world.ok(&["start", "alice", "--detach"]);
    assert_eq!(world.shell("alice", "cat /data/file"), "alice\n");
    world.shell("alice", "echo by alice > /data/file; sync");
    let _ = world.ok(&["start", "copy", "--detach"]);
    assert_eq!(world.shell("copy", "cat /data/file"), "bob\n");
    assert_eq!(world.shell("first", "cat /data/file"), "base\n");
    let _ = world.ok(&["rm", "--force", "first", "alice", "fork", "copy"]);
    let _ = world.ok(&["snapshot", "rm", "kept"]);
    let _ = world.ok(&["volume", "rm", "data"]);
    world.sandbox.assert_clean();
}

#[test]
fn one_writes_or_several_read() {
    let world = World::new();
    let _ = world.ok(&["volume", "create", "data", "--size", "64M"]);
    world
        .run(&["volume", "create", "data"])
        .fails(4, &["data exists already"]);
    world.start("writer", &["--volume", "data:/data"]);
    world
        .run(&["start", "other", "--detach", "--volume", "data:/data:ro"])
        .fails(4, &["data", "in use by writer", ":ro"]);
    world
        .run(&["volume", "rm", "data"])
        .fails(4, &["in use by writer", "knaller rm writer"]);
    let _ = world.ok(&["stop", "writer"]);
    world.start("first", &["--volume", "data:/data:ro"]);
    world.start("second", &["--volume", "data:/data:ro"]);
    world
        .run(&["start", "writer", "--detach"])
        .fails(4, &["in use by", "first", "second"]);
    for name in ["first", "second"] {
        let _ = world.ok(&["stop", name]);
    }
    // Stopped, a machine has no hold on the disk but keeps it from being removed.
    let _ = world.ok(&["start", "writer", "--detach"]);
    world
        .run(&["volume", "rm", "data"])
        .fails(4, &["first", "second", "writer"]);
    let _ = world.ok(&["stop", "writer"]);
    let _ = world.ok(&["rm", "writer", "first", "second"]);
    let _ = world.ok(&["volume", "rm", "data"]);
    world.sandbox.assert_clean();
}

#[test]
fn a_file_of_ones_own_is_mounted_where_it_is() {
    let world = World::new();
    let _ = world.ok(&["volume", "create", "data", "--size", "32M"]);
    world.with_volume("data:/data", "echo inside > /data/file");
    let volume = world.sandbox.data().join("knaller/volumes/data.ext4");
    let file = world.adopt(&volume);
    let words = format!("{}:/mnt", file.display());
    assert_eq!(
        world.with_volume(&words, "cat /mnt/file; echo more >> /mnt/file"),
        "inside\n"
    );
    assert_eq!(world.with_volume(&words, "cat /mnt/file"), "inside\nmore\n");
    for (volume, code, text) in [
        ("/no/such/file:/mnt", 3, "/no/such/file"),
        ("/etc/hostname:/mnt", 7, "/etc/hostname"),
        ("data:relative", 2, "absolute"),
        ("data:/a/../b", 2, "`..`"),
        ("data", 2, "a folder of the guest"),
    ] {
        world
            .run(&["start", "x", "--detach", "--volume", volume])
            .fails(code, &[text]);
    }
    world.sandbox.assert_clean();
}
