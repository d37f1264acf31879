//! Root file systems: good ones, ones that cannot be written to, hostile ones, and none.

use guest_protocol::{Exit, Root};
use testkit::Sandbox;

use crate::guest::{Guest, Plan, builtin, image};

/// Runs `plan` to its end, which must be a good one; gives the console.
fn good(sandbox: &Sandbox, plan: &Plan) -> String {
    let mut guest = Guest::start(sandbox, plan);
    let exit = guest.exited();
    let console = guest.off();
    assert_eq!(exit, Exit::Code(0), "{console}");
    console
}

#[test]
fn everything_a_program_expects_is_mounted() {
    let script = "set -e; cd /; \
        for m in 'devpts /dev/pts devpts rw,nosuid,noexec' 'tmpfs /dev/shm tmpfs rw,nosuid,nodev' 'mqueue /dev/mqueue mqueue rw' \
            'tmpfs /run tmpfs rw,nosuid,nodev' 'cgroup2 /sys/fs/cgroup cgroup2 rw' 'proc /proc proc rw' 'sysfs /sys sysfs rw' \
            'devtmpfs /dev devtmpfs rw'; do grep -q \"^$m\" /proc/mounts || echo missing $m; done; \
        [ $(readlink /dev/fd) = /proc/self/fd ]; [ $(readlink /dev/stderr) = /proc/self/fd/2 ]; [ -c /dev/ptmx ]; \
        [ $(stat -c %a /tmp) = 1777 ]; [ $(stat -c %a /dev/shm) = 1777 ]; [ $(stat -c %a /run/lock) = 1777 ]; \
        [ $(stat -c %a /) = 755 ]; [ $(hostname) = box ]; grep -q '^127.0.1.1.box$' /etc/hosts; grep -q localhost /etc/hosts; \
        [ $(cat /etc/hostname) = box ]; [ $(date -u +%Y) = 2023 ]; ip addr show lo | grep -q 'inet 127.0.0.1/8'; \
        [ ! -e /modules ]; [ $(readlink /proc/self/fd/0) = /dev/console ]";
    let sandbox = Sandbox::new();
    let console = good(&sandbox, &Plan::overlay(&sandbox, script));
    assert!(!console.contains("missing"), "{console}");
}

#[test]
fn a_read_only_root_is_still_usable() {
    let script = "set -e; touch /no 2>/dev/null && exit 9; touch /tmp/yes /run/yes /dev/shm/yes; [ $(cat /etc/hostname) = box ]; \
                  grep -q '^nameserver 192.0.2.53$' /etc/resolv.conf";
    let sandbox = Sandbox::new();
    let mut plan = Plan::disk(builtin(), true, script);
    plan.config.network = Some(guest_protocol::Network {
        interfaces: Vec::new(),
        dns: vec!["192.0.2.53".parse().unwrap()],
        search: Vec::new(),
        pins: Vec::new(),
    });
    good(&sandbox, &plan);
}

#[test]
fn the_images_folders_in_run_are_kept() {
    let sandbox = Sandbox::new();
    let image = image(
        &sandbox,
        &[
            "mkdir run/mysqld",
            "sif run/mysqld mode 040775",
            "sif run/mysqld uid 999",
        ],
    );
    good(
        &sandbox,
        &Plan::disk(image, false, "[ $(stat -c %a:%u /run/mysqld) = 775:999 ]"),
    );
}

#[test]
fn traps_in_the_image_neither_catch_nor_hang() {
    let sandbox = Sandbox::new();
    let image = image(
        &sandbox,
        &[
            "rm etc/hosts",
            "mknod etc/hosts p",
            "rm etc/group",
            "mknod etc/group p",
            "rm etc/resolv.conf",
            "symlink etc/resolv.conf /proc/self/mem",
            "rm etc/hostname",
            "mkdir etc/hostname",
            "mknod run/pipe p",
        ],
    );
    let script =
        "[ -f /etc/hosts ] && [ -f /etc/resolv.conf ] && [ ! -L /etc/resolv.conf ] && [ -d /etc/hostname ]";
    let mut plan = Plan::disk(image, false, script);
    plan.config.network = Some(guest_protocol::Network {
        interfaces: Vec::new(),
        dns: vec!["192.0.2.53".parse().unwrap()],
        search: Vec::new(),
        pins: Vec::new(),
    });
    let console = good(&sandbox, &plan);
    assert!(
        console.contains("powerunit: names: cannot write /etc/hostname: "),
        "{console}"
    );
}

#[test]
fn the_initramfs_can_be_the_root() {
    let sandbox = Sandbox::new();
    let mut guest = Guest::start(&sandbox, &Plan::new(Root::Initramfs, ""));
    assert!(guest.ready().memory_available_kib > 0);
}

#[test]
fn without_a_root_the_reason_is_told_and_ssh_answers() {
    let sandbox = Sandbox::new();
    let garbage = sandbox.path().join("garbage");
    std::fs::write(&garbage, vec![0x5a; 1 << 20]).unwrap();
    let mut guest = Guest::start(&sandbox, &Plan::disk(garbage, false, "true"));
    let (step, why) = guest.failed();
    assert_eq!(
        (step.as_str(), why.starts_with("vda holds no intact ext4")),
        ("root", true),
        "{why}"
    );
    assert!(guest.ssh_banner().starts_with("SSH-2.0-"));
}

#[test]
fn a_disk_that_never_comes_is_not_waited_for_for_ever() {
    let sandbox = Sandbox::new();
    let mut plan = Plan::disk(builtin(), true, "true");
    plan.config.root = serde_json::from_value(serde_json::json!({
        "kind": "disk",
        "disk": { "device": "vdq", "filesystem": "ext4" },
    }))
    .unwrap();
    let mut guest = Guest::start(&sandbox, &plan);
    let (_, why) = guest.failed();
    assert!(
        why.starts_with("no disk vdq appeared within 10 s; the kernel has ") && why.contains("vda"),
        "{why}"
    );
}
