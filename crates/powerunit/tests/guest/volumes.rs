//! Volumes: where they are, whose they are, what is left on them, and why there is none.

use std::path::{Path, PathBuf};
use std::process::Command;

use guest_protocol::{Exit, Volume};
use serde_json::json;
use testkit::Sandbox;

use crate::guest::{Guest, Plan, blank, debugfs, image, journal_is_closed, roomy};

fn volume(path: &str, source: &serde_json::Value, read_only: bool) -> Volume {
    serde_json::from_value(json!({ "path": path, "source": source, "read_only": read_only })).unwrap()
}

/// A volume on the disk that is attached next.
fn disk(plan: &mut Plan, file: PathBuf, path: &str, read_only: bool) {
    let letter = (b'a'..).nth(plan.disks.len()).unwrap() as char;
    let source = json!({ "disk": { "device": format!("vd{letter}"), "filesystem": "ext4" } });
    plan.disks.push((file, read_only));
    plan.config.volumes.push(volume(path, &source, read_only));
}

fn folder(plan: &mut Plan, path: &str, read_only: bool) {
    plan.config
        .volumes
        .push(volume(path, &json!("folder"), read_only));
}

fn good(sandbox: &Sandbox, plan: &Plan) -> String {
    let mut guest = Guest::start(sandbox, plan);
    let exit = guest.exited();
    let console = guest.off();
    assert_eq!(exit, Exit::Code(0), "{console}");
    console
}

fn kept(disk: &Path, file: &str) -> bool {
    debugfs(disk, &[&format!("cat {file}")]).lines().last() == Some("kept")
}

#[test]
fn disks_and_folders_are_where_they_belong_and_keep_what_is_written() {
    let sandbox = Sandbox::new();
    let base = image(
        &sandbox,
        &[
            "mkdir data",
            "sif data mode 040750",
            "sif data uid 999",
            "sif data gid 998",
            "symlink away /srv/../../elsewhere",
        ],
    );
    let script = "set -e; [ $(stat -c %a:%u:%g /data) = 750:999:998 ]; grep -q '^/dev/vd[a-z] /data ext4 rw' /proc/mounts; \
        grep -q ' /data/in/side ext4 rw' /proc/mounts; grep -q ' /elsewhere/deep ext4 ro' /proc/mounts; \
        echo kept > /data/row; echo kept > /data/in/side/row; touch /elsewhere/deep/no 2>/dev/null && exit 9; \
        [ $(stat -c %a:%u /srv/made/here) = 755:0 ]; touch /srv/made/here/file; touch /etc/yes; \
        touch /usr/no 2>/dev/null && exit 8; touch /usr/bin/no 2>/dev/null && exit 7; true";
    let mut plan = Plan::overlay(&sandbox, script);
    plan.disks[0].0 = base;
    let [inner, outer, read_only] = ["inner", "outer", "read-only"].map(|name| blank(&sandbox, name));
    disk(&mut plan, inner.clone(), "/data/in/side", false);
    disk(&mut plan, outer.clone(), "/data", false);
    disk(&mut plan, read_only, "/away/./deep", true);
    folder(&mut plan, "/srv/made/here", false);
    folder(&mut plan, "/usr", true);
    good(&sandbox, &plan);
    assert!(kept(&outer, "row") && kept(&inner, "row"));
    assert!(journal_is_closed(&outer) && journal_is_closed(&inner));
}

#[test]
fn a_fresh_volume_is_filled_with_what_the_image_has_there() {
    let sandbox = Sandbox::new();
    let tool = sandbox.path().join("tool");
    std::fs::write(&tool, "#!/bin/sh\n").unwrap();
    let write = format!("write {} tool", tool.display());
    let base = image(
        &sandbox,
        &[
            "mkdir data",
            "sif data mode 040750",
            "sif data uid 999",
            "cd data",
            &write,
            "sif tool mode 0104711",
            "sif tool gid 70000",
            "sif tool mtime @1000000000",
            "ea_set tool user.word value",
            "ln tool same",
            "sif tool links_count 2",
            "symlink link ../away",
            "mknod pipe p",
            "mkdir in",
            "sif in mode 041777",
        ],
    );
    let script = "set -e; cd /data; [ $(stat -c %a:%u . ) = 750:999 ]; [ $(stat -c %a:%g:%Y:%h tool) = 4711:70000:1000000000:2 ]; \
        [ $(stat -c %i tool) = $(stat -c %i same) ]; [ $(readlink link) = ../away ]; [ -p pipe ]; [ $(stat -c %a in) = 1777 ]; \
        [ $(ls -A | wc -l) = 5 ]; [ -z \"$(ls -A /data/in/side)\" ]; rm tool pipe; echo kept > row";
    let plan = |sandbox: &Sandbox, script: &str| {
        let mut plan = Plan::overlay(sandbox, script);
        plan.disks[0].0.clone_from(&base);
        disk(&mut plan, sandbox.path().join("data.ext4"), "/data", false);
        disk(&mut plan, sandbox.path().join("none.ext4"), "/data/in/side", true);
        plan
    };
    let [data, none] = ["data", "none"].map(|name| blank(&sandbox, name));
    good(&sandbox, &plan(&sandbox, script));
    assert!(kept(&data, "row") && journal_is_closed(&data));
    let attributes = debugfs(&data, &["ea_list same", "ea_list /"]);
    assert!(
        attributes.contains("user.word (5) = \"value\"") && !attributes.contains("powerunit"),
        "{attributes}"
    );
    let names = debugfs(&none, &["ls -p /"]);
    assert!(names.contains("/../") && !names.contains("100644"), "{names}");
    // What is on it now is what counts.
    let again = Sandbox::new();
    for (file, name) in [(data, "data.ext4"), (none, "none.ext4")] {
        std::fs::copy(file, again.path().join(name)).unwrap();
    }
    good(
        &again,
        &plan(&again, "[ ! -e /data/tool ] && [ $(cat /data/row) = kept ]"),
    );
}

/// The disk is full in the middle of the copy; the next start finds room, and nothing of the first remains.
#[test]
fn a_volume_that_was_half_filled_is_filled_anew() {
    let sandbox = Sandbox::new();
    let large = sandbox.path().join("large");
    std::fs::write(&large, vec![0x5a; 9 << 20]).unwrap();
    let files: Vec<String> = std::iter::once("mkdir data".to_owned())
        .chain(std::iter::once("cd data".to_owned()))
        .chain((0..9).map(|number| format!("write {} file{number}", large.display())))
        .collect();
    let commands: Vec<&str> = files.iter().map(String::as_str).collect();
    let large = roomy(&sandbox, &commands);
    let data = blank(&sandbox, "data");
    let mut plan = Plan::overlay(&sandbox, "echo it runs");
    plan.disks[0].0 = large;
    disk(&mut plan, data.clone(), "/data", false);
    let mut guest = Guest::start(&sandbox, &plan);
    let (step, why) = guest.failed();
    assert_eq!(step, "volumes");
    assert!(
        why.starts_with("cannot copy the image's files into the volume at /data: cannot copy file")
            && why.contains("No space left on device"),
        "{why}"
    );
    // As if the power had gone: what is not in the journal is not there.
    drop(guest);
    let copy = sandbox.path().join("copy.ext4");
    std::fs::copy(&data, &copy).unwrap();
    let replayed = Command::new("e2fsck").arg("-p").arg(&copy).output().unwrap();
    let marked = debugfs(&copy, &["ea_list /"]);
    assert!(
        marked.contains("trusted.powerunit.filling"),
        "{marked} {replayed:?}"
    );

    let again = Sandbox::new();
    let whole = "[ \"$(ls /data | tr '\\n' ' ')\" = 'README ' ]";
    let mut plan = Plan::overlay(&again, whole);
    let readme = again.path().join("README");
    std::fs::write(&readme, "read me\n").unwrap();
    let write = format!("write {} README", readme.display());
    plan.disks[0].0 = image(&again, &["mkdir data", "cd data", &write]);
    disk(&mut plan, data.clone(), "/data", false);
    good(&again, &plan);
    assert!(!debugfs(&data, &["ea_list /"]).contains("powerunit"));
    let check = Command::new("e2fsck").arg("-fn").arg(&data).output().unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
}

/// As `docker run --read-only`.
#[test]
fn in_a_read_only_root_only_volumes_can_be_written_to() {
    let sandbox = Sandbox::new();
    let script = "for f in / /tmp /etc /root /var/tmp; do touch $f/no 2>/dev/null && exit 9; done; set -e; \
        touch /run/yes /dev/shm/yes /var/lib/files/yes; echo kept > /data/row; [ $(cat /etc/hostname) = box ]; \
        grep -q '^127.0.1.1.box$' /etc/hosts; grep -q '^overlay / overlay ro' /proc/mounts; \
        touch /var/lib/shown/no 2>/dev/null && exit 8; true";
    let mut plan = Plan::overlay(&sandbox, script);
    plan.config.read_only = true;
    let data = blank(&sandbox, "data");
    disk(&mut plan, data.clone(), "/data", false);
    folder(&mut plan, "/var/lib/files", false);
    folder(&mut plan, "/var/lib/shown", true);
    good(&sandbox, &plan);
    let upper = &plan.disks[1].0;
    assert!(kept(&data, "row") && journal_is_closed(&data) && journal_is_closed(upper));
    let written = debugfs(upper, &["ls upper", "ls upper/tmp", "ls upper/root"]);
    assert!(!written.contains("no"), "{written}");
}

#[test]
fn a_volume_that_cannot_be_had_is_named_and_nothing_runs_without_it() {
    let garbage = |sandbox: &Sandbox| {
        let file = sandbox.path().join("garbage");
        std::fs::write(&file, vec![0x5a; 1 << 20]).unwrap();
        file
    };
    type Add = fn(&mut Plan, PathBuf);
    let cases: [(Add, &str); 3] = [
        (
            |plan, file| disk(plan, file, "/data", false),
            "cannot mount the volume at /data: vdc holds no intact ext4",
        ),
        (
            |plan, _| folder(plan, "data", false),
            "a volume cannot be at `data`: an absolute path other than `/` is expected",
        ),
        (
            |plan, _| folder(plan, "/etc/passwd/x", false),
            "cannot make the folder /etc/passwd/x for a volume",
        ),
    ];
    for (add, expected) in cases {
        let sandbox = Sandbox::new();
        let mut plan = Plan::overlay(&sandbox, "echo it runs");
        add(&mut plan, garbage(&sandbox));
        let mut guest = Guest::start(&sandbox, &plan);
        let (step, why) = guest.failed();
        assert_eq!(
            (step.as_str(), why.starts_with(expected)),
            ("volumes", true),
            "{why}"
        );
        assert!(guest.ssh_banner().starts_with("SSH-2.0-"));
        assert!(!guest.console().contains("it runs\n"));
    }
}
