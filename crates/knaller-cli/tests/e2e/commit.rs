//! `knaller commit`: what a machine has changed, as an image that others start from.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::world::{SMALL, World};

impl World {
    /// A small image called `base`, made of the host's busybox.
    fn import_base(&self) {
        let root = self.sandbox.home().join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir(root.join("etc")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "ls", "rm", "mv", "mkdir"] {
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
        "echo new > /etc/new; rm /etc/old; mv /folder /moved; echo no > /data/file",
    );
    world
        .run(&["commit", "web", "shop/web:2"])
        .fails(4, &["web is running", "knaller stop web"]);
    let _ = world.ok(&["stop", "web"]);
    let _ = world.ok(&["commit", "web", "shop/web:2"]);
    // What the init wrote of the machine is no part of the layer.
    let archive = world.sandbox.home().join("web.tar");
    let _ = world.ok(&["image", "export", "shop/web:2", "-o", archive.to_str().unwrap()]);
    let listed = layers_of(&archive);
    assert!(listed.contains("etc/new\n"), "{listed}");
    for own in ["etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"] {
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
