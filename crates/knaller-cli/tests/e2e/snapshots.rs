//! `knaller snapshot export` and `import`: a machine's moment, taken to another host.

use std::path::Path;
use std::process::Command;

use crate::world::World;

/// The archive `from` with other files in it.
fn changed(from: &Path, script: &str) -> std::path::PathBuf {
    let to = from.with_extension("changed.zst");
    let line = "cd \"$(mktemp -d -p \"$(dirname \"$1\")\")\"; tar --zstd -xf \"$1\"; eval \"$3\"; tar --zstd -cSf \"$2\" *";
    let done = Command::new("sh")
        .args(["-ec", line, "sh"])
        .args([from, &to])
        .arg(script)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    to
}

#[test]
fn a_snapshot_goes_to_another_host_as_one_file() {
    let here = World::new();
    here.start("db", &["--volume", "rows:/rows"]);
    here.shell(
        "db",
        "echo kept > /run/memory; echo kept > /rows/file; echo kept > /etc/file",
    );
    let _ = here.ok(&["snapshot", "create", "db", "--name", "ready"]);
    let file = here.sandbox.home().join("ready.tar.zst");
    let path = file.to_str().unwrap();
    let _ = here.ok(&["snapshot", "export", "ready", "-o", path]);
    here.run(&["snapshot", "import", path]).fails(
        4,
        &[
            "a snapshot named ready exists already",
            "knaller snapshot rm ready",
        ],
    );

    let there = World::new();
    let imported = there.run(&["snapshot", "import", path, "--name", "theirs"]);
    assert!(
        imported.stderr.contains("snapshot theirs of db is imported"),
        "{}",
        imported.stderr
    );
    let started = ["start", "copy", "--from-snapshot", "theirs", "--detach"];
    let _ = there.ok(&started);
    let files = there.shell("copy", "cat /run/memory /rows/file /etc/file; hostname");
    assert_eq!(files, "kept\nkept\nkept\ncopy\n");
    there.stop_and_remove("copy");
    let _ = there.ok(&["snapshot", "rm", "theirs"]);

    for (script, why) in [
        ("echo x >> state", "theirs is damaged: state has"),
        ("rm memory", "theirs is damaged: memory"),
        ("echo x > other", "theirs is damaged: other does not belong there"),
        ("rm snapshot.json", "no snapshot.json in the archive"),
        (
            "mkdir folder",
            "\"folder/\" in the archive is not one of the plain files",
        ),
        (
            "ln -s /etc/passwd link",
            "\"link\" in the archive is not one of the plain files",
        ),
    ] {
        let changed = changed(&file, script);
        there
            .run(&[
                "snapshot",
                "import",
                changed.to_str().unwrap(),
                "--name",
                "theirs",
            ])
            .fails(7, &[why]);
    }
    there
        .run(&["snapshot", "import", "/etc/hostname"])
        .fails(7, &["it is no archive packed with zstd"]);
    assert_eq!(there.ok(&["snapshot", "ls", "-o", "json"]).trim(), "[]");
    let left = there.sandbox.home().join(".local/share/knaller/snapshots");
    assert!(std::fs::read_dir(left).into_iter().flatten().next().is_none());

    let _ = here.ok(&["snapshot", "rm", "ready"]);
    here.stop_and_remove("db");
    here.sandbox.assert_clean();
    there.sandbox.assert_clean();
}

#[test]
fn what_a_snapshot_needs_of_this_host_stays_or_is_named() {
    let world = World::new();
    let root = world.sandbox.home().join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    let _ = world.ok(&["image", "import", root.to_str().unwrap(), "-t", "base"]);
    let _ = world.ok(&["volume", "create", "shared"]);
    world.start("db", &["--image", "base", "--volume", "shared:/shared:ro"]);
    let _ = world.ok(&["snapshot", "create", "db", "--name", "ready"]);
    world.stop_and_remove("db");
    world
        .run(&["image", "rm", "base"])
        .fails(4, &["base", "snapshot ready"]);
    let file = world.sandbox.home().join("ready.tar.zst");
    world
        .run(&["snapshot", "export", "ready", "-o", file.to_str().unwrap()])
        .fails(7, &["it reads a volume of this host", "/shared"]);
    assert!(!file.exists());
    let _ = world.ok(&["snapshot", "rm", "ready"]);
    let _ = world.ok(&["image", "rm", "base"]);
    world.sandbox.assert_clean();
}
