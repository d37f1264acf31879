//! A Debian with its own init: systemd is PID 1, our SSH is beside it, and it stops in order.

use std::path::PathBuf;
use std::process::Command;

use testkit::{Debian, debian, is_root, run, skip};

use crate::world::World;

/// Units that fail in a small guest for reasons of its kernel, none of them ours: Debian's cloud kernel is told to load
/// modules that are not in its initrd.
const MAY_FAIL: [&str; 2] = ["systemd-modules-load.service", "modprobe@"];

/// Starts a machine that is systemd's. It is up when SSH answers, which systemd may be seconds from then on.
fn start(world: &World) {
    let image = debian(Debian::Systemd);
    let start = [
        "start", "sysd", "--detach", "-m", "256M", "--init", "image", "--rootfs",
    ];
    let _ = world.ok(&[&start[..], &[image.to_str().unwrap()]].concat());
}

/// Stops it, and gives its disk, which is in order: systemd did what it was asked for, without another reminder.
fn stop(world: &World) -> PathBuf {
    let ran = world.run(&["stop", "sysd"]);
    assert!(ran.stderr.ends_with("sysd has stopped in order\n"), "{ran}");
    let disk = world.sandbox.data().join("knaller/vms/sysd/rootfs.ext4");
    let checked = run(Command::new("e2fsck").arg("-n").arg(&disk)).ok();
    assert!(
        checked.contains("clean") && !checked.contains("journal"),
        "{checked}"
    );
    disk
}

#[test]
fn systemd_that_has_hardly_begun_stops_in_order() {
    if !is_root() {
        return skip(
            "systemd_that_has_hardly_begun_stops_in_order",
            "root, without whom no Debian image can be made",
        );
    }
    let world = World::new();
    start(&world);
    stop(&world);
    let _ = world.ok(&["rm", "sysd"]);
}

#[test]
fn systemd_comes_up_with_ssh_beside_it_and_stops_in_order() {
    if !is_root() {
        return skip(
            "systemd_comes_up_with_ssh_beside_it_and_stops_in_order",
            "root, without whom no Debian image can be made",
        );
    }
    let world = World::new();
    start(&world);
    // Before its bus is there, systemctl cannot wait.
    let wait = "until state=$(systemctl is-system-running --wait 2> /dev/null) || [ \"$state\" = degraded ]; do sleep 0.1; done; echo $state";
    let state = world.shell("sysd", wait);
    let failed = world.ok(&["exec", "sysd", "systemctl", "--failed", "--plain", "--no-legend"]);
    let known = |line: &str| MAY_FAIL.iter().any(|unit| line.starts_with(unit));
    let strange: Vec<_> = failed.lines().filter(|line| !known(line)).collect();
    assert!(strange.is_empty(), "{state}\n{failed}");
    assert!(
        ["running", "degraded"].contains(&state.trim()),
        "{state}\n{failed}"
    );
    assert_eq!(world.shell("sysd", "cat /proc/1/comm"), "systemd\n");
    assert_eq!(
        world.shell("sysd", "hostname; findmnt -no FSTYPE /"),
        "sysd\next4\n"
    );
    // What runs as a unit ends with systemd's own order: its last words reach the disk before that is unmounted.
    let unit = "systemd-run -q --unit last -p ExecStop='/bin/sh -c \"echo stopped > /root/last\"' -p RemainAfterExit=yes true";
    world.shell("sysd", unit);
    let disk = stop(&world);
    let said = run(Command::new("debugfs").args(["-R", "cat /root/last"]).arg(&disk)).ok();
    assert_eq!(said, "stopped\n");
    let _ = world.ok(&["rm", "sysd"]);
}
