//! The built-in image, made of this machine's busybox-static and looked into with e2fsprogs.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use images::Task;
use images::builtin::{builtin_image, find_image};

/// Name to (mode, uid, gid) of what is in a folder of an image, by `debugfs -R "ls -p"`:
/// `/inode/mode/uid/gid/name/size/`.
fn list(image: &Path, folder: &str) -> BTreeMap<String, (u32, u32, u32)> {
    let output = Command::new("/usr/sbin/debugfs")
        .args(["-R", &format!("ls -p {folder}")])
        .arg(image)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let entry = |line: &str| {
        let fields: Vec<_> = line.split('/').collect();
        let mode = u32::from_str_radix(fields.get(2)?, 8).ok()?;
        Some((
            (*fields.get(5)?).to_owned(),
            (mode, fields.get(3)?.parse().ok()?, fields.get(4)?.parse().ok()?),
        ))
    };
    text.lines().filter_map(entry).collect()
}

fn cat(image: &Path, path: &str) -> Vec<u8> {
    let command = format!("cat {path}");
    Command::new("/usr/sbin/debugfs")
        .args(["-R", &command])
        .arg(image)
        .output()
        .unwrap()
        .stdout
}

#[test]
fn the_image_holds_what_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let image = builtin_image(&data, &Task::new()).unwrap();

    let root = list(&image.path, "/");
    assert_eq!(root["tmp"], (0o041_777, 0, 0));
    assert_eq!(root["root"], (0o040_700, 0, 0));
    for name in [
        "bin", "dev", "etc", "home", "mnt", "proc", "run", "sbin", "srv", "sys", "usr", "var",
    ] {
        assert_eq!(root[name], (0o040_755, 0, 0), "{name}");
    }
    assert_eq!(list(&image.path, "/home")["user"], (0o040_755, 1000, 1000));
    assert_eq!(list(&image.path, "/etc")["shadow"], (0o100_640, 0, 42));
    let bin = list(&image.path, "/bin");
    assert_eq!(bin["busybox"], (0o100_755, 0, 0));
    assert_eq!(bin["sh"], (0o120_777, 0, 0));
    assert!(list(&image.path, "/usr/bin").contains_key("["));
    assert!(
        list(&image.path, "/usr/sbin").contains_key("httpd"),
        "nothing serves /srv/www"
    );
    assert!(cat(&image.path, "/bin/busybox") == fs::read("/bin/busybox").unwrap());
    assert!(cat(&image.path, "/srv/www/index.html").starts_with(b"<!doctype html>"));
    assert!(cat(&image.path, "/etc/os-release").starts_with(b"NAME="));

    let checked = Command::new("/usr/sbin/e2fsck")
        .arg("-fn")
        .arg(&image.path)
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );

    let size = image.path.metadata().unwrap().len();
    assert!(size < 8 << 20, "{size} bytes for a busybox of 2 MiB");
}

#[test]
fn it_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let images = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| builtin_image(&data, &Task::new()).unwrap()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(images.iter().all(|image| *image == images[0]));
    // The image and the stamp that finds it again.
    assert_eq!(fs::read_dir(data.join("images")).unwrap().count(), 2);
    let made = images[0].path.metadata().unwrap().modified().unwrap();
    assert_eq!(builtin_image(&data, &Task::new()).unwrap(), images[0]);
    assert_eq!(images[0].path.metadata().unwrap().modified().unwrap(), made);
    assert_eq!(find_image(&data, &images[0].id).as_ref(), Some(&images[0]));
    assert_eq!(
        find_image(&data, "builtin-00000000000000000000000000000000"),
        None
    );
    assert_eq!(find_image(&data, "../builtin"), None);
}

#[test]
fn it_is_the_same_whenever_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let made = ["one", "other"].map(|name| builtin_image(&folder.path().join(name), &Task::new()).unwrap());
    assert_eq!(made[0].id, made[1].id);
    assert!(fs::read(&made[0].path).unwrap() == fs::read(&made[1].path).unwrap());
}

/// Runs the first test again as a user that may do nothing.
#[test]
fn it_is_the_same_whoever_makes_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root, so the other tests have shown it");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("test");
    // By another process: one that another test starts meanwhile would inherit the open copy, which then cannot be run.
    let copied = Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&program)
        .status()
        .unwrap();
    assert!(copied.success());
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(4321), Some(4321)).unwrap();
    let output = Command::new(&program)
        .args(["--exact", "the_image_holds_what_it_should"])
        .env("TMPDIR", &home)
        .current_dir(&home)
        .uid(4321)
        .gid(4321)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
