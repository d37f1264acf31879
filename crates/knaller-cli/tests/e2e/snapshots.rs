//! `knaller snapshot export` and `import`: a machine's moment, taken to another host.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

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

/// What there is in a folder, folders in it included, but for links: each is its owner's alone.
#[track_caller]
fn private_files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_symlink() {
            continue;
        }
        let mode = metadata.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        if metadata.is_dir() {
            found.extend(private_files(&path));
        }
    }
    found
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

    // What a VMM of another version has written is left alone, and its disks are as good as ever.
    let description = there
        .sandbox
        .data()
        .join("knaller/snapshots/theirs/snapshot.json");
    let text = std::fs::read_to_string(&description).unwrap();
    let older = text.replace("\"vmm_version\": \"", "\"vmm_version\": \"0.");
    assert_ne!(older, text);
    std::fs::write(&description, older).unwrap();
    there.run(&started).fails(
        4,
        &[
            "the snapshot theirs cannot be loaded here: it was taken with",
            "--cold-fallback boots its disks instead",
        ],
    );
    let cold = there.run(&[&started[..], &["--cold-fallback"]].concat());
    assert!(
        cold.stderr
            .contains("theirs cannot be loaded here, and its disks are booted instead"),
        "{}",
        cold.stderr
    );
    let _ = cold.ok();
    let files = there.shell(
        "copy",
        "cat /rows/file /etc/file; ls /run/memory 2>/dev/null; hostname",
    );
    assert_eq!(files, "kept\nkept\ncopy\n");
    there.stop_and_remove("copy");

    // So they are where its memory is not what it was.
    std::fs::write(&description, text).unwrap();
    let memory = description.with_file_name("memory");
    std::fs::set_permissions(&memory, std::fs::Permissions::from_mode(0o600)).unwrap();
    let opened = std::fs::OpenOptions::new().write(true).open(&memory).unwrap();
    opened.write_all_at(b"other", 1 << 20).unwrap();
    there.run(&started).fails(
        7,
        &[
            "the snapshot theirs is damaged: memory is not what was kept",
            "--cold-fallback",
        ],
    );
    let cold = there.run(&[&started[..], &["--cold-fallback"]].concat());
    assert!(
        cold.stderr
            .contains("its disks are booted instead: memory is not"),
        "{cold}"
    );
    assert_eq!(there.shell("copy", "cat /rows/file /etc/file"), "kept\nkept\n");
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
    let cut = file.with_extension("cut");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let folder = file.parent().unwrap().to_str().unwrap();
    for (path, code, texts) in [
        (
            "/etc/hostname",
            7,
            &[
                "cannot import /etc/hostname: it is no archive packed with zstd",
                "`knaller snapshot export`",
            ][..],
        ),
        ("/dev/null", 7, &["cannot import /dev/null: it is empty"]),
        (cut.to_str().unwrap(), 7, &["it is not whole", "export it anew"]),
        (folder, 2, &["is a folder"]),
        ("/nosuch", 3, &["there is no file /nosuch"]),
    ] {
        there.run(&["snapshot", "import", path]).fails(code, texts);
    }
    assert_eq!(there.ok(&["snapshot", "ls", "-o", "json"]).trim(), "[]");
    let left = there.sandbox.data().join("knaller/snapshots");
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0);

    let _ = here.ok(&["snapshot", "rm", "ready"]);
    here.stop_and_remove("db");
    here.sandbox.assert_clean();
    there.sandbox.assert_clean();
}

#[test]
fn a_strangers_file_does_not_say_how_a_machine_is_kept_here() {
    let here = World::new();
    here.start("db", &["--publish", "0:80"]);
    let _ = here.ok(&["snapshot", "create", "db", "--name", "ready"]);
    here.stop_and_remove("db");
    let file = here.sandbox.home().join("ready.tar.zst");
    let path = file.to_str().unwrap();
    let _ = here.ok(&["snapshot", "export", "ready", "-o", path]);
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it has the guest's memory in it");
    let _ = here.ok(&["snapshot", "rm", "ready"]);

    // What it says of its files is as it was.
    let script = r#"sed -i -e 's/"jail": true/"jail": false/' -e 's/"restart": "no"/"restart": "always"/' \
        -e 's/"slice": null/"slice": "system.slice"/' -e 's/"egress": \[\]/"egress": ["allow=169.254.169.254"]/' snapshot.json"#;
    let foreign = changed(&file, script);
    let imported = here.run(&["snapshot", "import", foreign.to_str().unwrap()]);
    for said in [
        "it ran without a jail: its machines have one here",
        "it was to start again by itself",
        "it was in a slice",
        "its egress rule allow=169.254.169.254 opens metadata services",
        "here they are from 127.0.0.1",
    ] {
        assert!(imported.stderr.contains(said), "{said}: {}", imported.stderr);
    }
    let started = here.run(&["start", "copy", "--from-snapshot", "ready", "--detach"]);
    assert!(!started.stderr.contains("without a jail"), "{}", started.stderr);
    let _ = started.ok();
    let copy = here.inspect("copy");
    let record = here.sandbox.data().join("knaller/vms/copy/vm.json");
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let spec = &record["spec"];
    assert_eq!(
        (&spec["jail"], &spec["restart"], &spec["slice"]),
        (&Value::Bool(true), &Value::from("no"), &Value::Null)
    );
    assert!(record["jail"].is_object(), "{record}");
    assert_eq!(record["forwards"][0]["bind"], "127.0.0.1", "{copy}");
    let _ = here.ok(&["snapshot", "create", "copy", "--name", "next", "--diff"]);
    for (folder, has) in [
        (here.sandbox.data().join("knaller/vms/copy"), "vm.json"),
        (here.sandbox.data().join("knaller/snapshots/next"), "overlay.ext4"),
        (here.sandbox.runtime().join("knaller/copy"), "api.sock"),
    ] {
        let found = private_files(&folder);
        assert!(found.iter().any(|name| name.starts_with(has)), "{found:?}");
    }
    here.stop_and_remove("copy");
    let _ = here.ok(&["snapshot", "rm", "next"]);

    for (script, why) in [
        (
            r#"sed -i 's/"kernel": "[0-9a-f]*"/"kernel": "..\/..\/etc"/' snapshot.json"#,
            "its kernel is no id of one",
        ),
        (
            r#"sed -i 's/"name": "ready"/"name": "..\/ready"/' snapshot.json"#,
            "snapshot.json in the archive is none that this program reads",
        ),
        (
            r#"sed -i 's/"root": "builtin"/"root": {"raw":"\/dev\/vda"}/' snapshot.json"#,
            "it reads a disk of this host",
        ),
    ] {
        let foreign = changed(&file, script);
        here.run(&["snapshot", "import", foreign.to_str().unwrap(), "--name", "other"])
            .fails(7, &[why]);
    }
    let _ = here.ok(&["snapshot", "rm", "ready"]);
    here.sandbox.assert_clean();
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

#[test]
fn a_guest_whose_snapshot_was_killed_goes_on_with_the_next_command() {
    let world = World::new();
    world.start("db", &["--network", "none"]);
    let taking = world.spawn(&["snapshot", "create", "db", "--name", "half"]);
    // There from when the guest stands still.
    let asked = world.sandbox.runtime().join("knaller/db/vsock.sock_1024");
    while !asked.exists() {
        std::thread::yield_now();
    }
    taking.signal(Signal::KILL);
    let _ = taking.end();
    let _ = world.ok(&["list"]);
    assert_eq!(world.shell("db", "echo alive"), "alive\n");
    // By itself it would have, after a while, and said so.
    let console = world.ok(&["logs", "db"]);
    assert!(!console.contains("goes on as it was"), "{console}");
    assert_eq!(world.ok(&["snapshot", "ls", "-o", "name"]), "");
    world.stop_and_remove("db");
}
