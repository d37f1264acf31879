//! `knaller commit`: what a machine has changed, as an image that others start from.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::world::{SMALL, World};

impl World {
    /// A small image called `base`, made of the host's busybox.
    pub(crate) fn import_base(&self) {
        let root = self.sandbox.home().join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir(root.join("etc")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "ls", "rm", "mv", "mkdir", "sync", "true"] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(root.join("etc/old"), "old\n").unwrap();
        std::fs::create_dir(root.join("folder")).unwrap();
        std::fs::write(root.join("folder/file"), "within\n").unwrap();
        let _ = self.ok(&["image", "import", root.to_str().unwrap(), "-t", "base"]);
    }
}

/// The names in all layers of an archive that tar can unpack.
fn layers_of(archive: &Path) -> String {
    let script = "cd \"$(mktemp -d -p \"$2\")\"; tar xf \"$1\"; for blob in blobs/sha256/*; do tar tf $blob 2> /dev/null || true; done";
    let listed = Command::new("sh")
        .args(["-ec", script, "sh"])
        .arg(archive)
        .arg(archive.parent().unwrap())
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8(listed.stdout).unwrap()
}

#[test]
fn what_a_machine_has_changed_is_in_its_image() {
    let world = World::new();
    world.import_base();
    world.start("web", &["--image", "base", "--volume", "data:/data"]);
    world.shell(
        "web",
        "echo new > /etc/new; rm /etc/old; mv /folder /moved; echo no > /data/file; \
         echo 0123456789abcdef0123456789abcdef > /etc/machine-id",
    );
    let _ = world.ok(&["stop", "web"]);
    let _ = world.ok(&["commit", "web", "shop/web:2"]);
    // What the init wrote of the machine is no part of the layer.
    let archive = world.sandbox.home().join("web.tar");
    let _ = world.ok(&["image", "export", "shop/web:2", "-o", archive.to_str().unwrap()]);
    let listed = layers_of(&archive);
    assert!(listed.contains("etc/new\n"), "{listed}");
    let own = ["hostname", "hosts", "machine-id", "mtab", "resolv.conf"].map(|name| format!("etc/{name}"));
    for own in &own {
        assert!(!listed.contains(own), "{own}: {listed}");
    }
    let line = "cat /etc/new /moved/file; ls /etc/old /folder /data/file";
    let ran = world.run(&["run", "--memory", "128M", "shop/web:2", "sh", "-c", line]);
    assert_eq!(ran.stdout, "new\nwithin\n");
    for gone in ["/etc/old", "/folder", "/data/file"] {
        assert!(ran.stderr.contains(gone), "{gone}: {}", ran.stderr);
    }
    // One more layer, and the machine goes on as it was.
    let history = world.ok(&["image", "history", "shop/web:2", "-o", "json"]);
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
    let _ = world.ok(&["start", "web", "--detach"]);
    assert_eq!(world.shell("web", "cat /etc/new /data/file"), "new\nno\n");
    world.run(&["image", "rm", "base"]).fails(4, &["web"]);
    world.stop_and_remove("web");
    let _ = world.ok(&["image", "rm", "base"]);
    assert_eq!(
        world.ok(&["run", "--memory", "128M", "shop/web:2", "cat", "/etc/new"]),
        "new\n"
    );
    world.sandbox.assert_clean();
}

#[test]
fn a_machine_that_runs_is_committed_and_goes_on() {
    let world = World::new();
    world.import_base();
    world.start("web", &["--image", "base"]);
    // One who writes all the time: the image has whole lines, and as many as there were at some moment.
    let write = "i=0; while :; do i=$((i + 1)); echo line $i >> /etc/lines; done";
    world.shell(
        "web",
        &format!("sh -c '{write}' > /etc/out 2>&1 < /etc/old & echo $! > /etc/pid"),
    );
    let told = world.ok(&["commit", "web", "while:1", "-o", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told[0]["name"], &told[0]["done"]),
        (&"while:1".into(), &"committed".into())
    );
    let check = "n=0; while read line i; do n=$((n + 1)); [ $line = line -a $i = $n ] || exit 1; done < /etc/lines; \
                 [ $n -gt 0 ]";
    let ran = world.run(&["run", "--memory", "128M", "while:1", "sh", "-c", check]);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    world.shell("web", "kill -0 $(cat /etc/pid); kill $(cat /etc/pid)");

    world.shell("web", "echo paused > /etc/new");
    let _ = world.ok(&["pause", "web"]);
    let _ = world.ok(&["commit", "web", "while:2"]);
    assert!(
        world.ok(&["ls", "-o", "json"]).contains("\"paused\""),
        "it is paused as it was"
    );
    assert_eq!(
        world.ok(&["run", "--memory", "128M", "while:2", "cat", "/etc/new"]),
        "paused\n"
    );
    let _ = world.ok(&["resume", "web"]);
    world.stop_and_remove("web");
    world.sandbox.assert_clean();
}

#[test]
fn a_machine_that_was_killed_is_committed_as_its_journal_has_it() {
    let world = World::new();
    world.import_base();
    world.start("web", &["--image", "base"]);
    world.shell("web", "echo kept > /etc/new; sync");
    let _ = world.ok(&["kill", "web"]);
    let _ = world.ok(&["commit", "web", "after"]);
    assert_eq!(
        world.ok(&["run", "--memory", "128M", "after", "cat", "/etc/new"]),
        "kept\n"
    );
    let _ = world.ok(&["rm", "web"]);

    let _ = world.ok(&[&["start", "plain"][..], &SMALL].concat());
    let _ = world.ok(&["stop", "plain"]);
    world
        .run(&["commit", "plain", "x"])
        .fails(7, &["plain was not started from an image"]);
    let _ = world.ok(&["rm", "plain"]);
    world.sandbox.assert_clean();
}
