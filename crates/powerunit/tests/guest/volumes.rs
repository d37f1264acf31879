//! Volumes: where they are, whose they are, what is left on them, and why there is none.

use std::path::{Path, PathBuf};

use guest_protocol::{Exit, Volume};
use serde_json::json;
use testkit::Sandbox;

use crate::guest::{Guest, Plan, blank, debugfs, image, journal_is_closed};

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
