//! Whole systems: Debian as it is, and Debian with systemd.

use testkit::images::Image;

use super::{start, world_with};

#[test]
fn debian_idles_with_ssh_up_and_its_own_tools_work() {
    let test = "debian_idles_with_ssh_up_and_its_own_tools_work";
    let Some(world) = world_with(Image::Debian, test) else {
        return;
    };
    let machine = start(&world, "deb", Image::Debian, "128M", &[]);
    assert_eq!(machine["image"], "debian");
    let installed = world.shell("deb", "apt list --installed 2> /dev/null");
    assert!(
        installed.lines().any(|line| line.starts_with("base-files/")),
        "{installed}"
    );
    // The image was made without documentation; nothing else is missing or other than its package has it.
    let verify = "dpkg --audit; dpkg --verify | grep -v -E '/(doc|info|locale|man)/'";
    assert_eq!(world.shell("deb", &format!("{verify}; true")), "");
    // Owners and modes are the packages' own.
    let owners =
        "stat -c '%U:%G %a %n' /etc/shadow /usr/bin/passwd /var/mail /tmp /var/cache/apt/archives/partial";
    assert_eq!(
        world.shell("deb", owners),
        "root:shadow 640 /etc/shadow\nroot:root 4755 /usr/bin/passwd\nroot:mail 2775 /var/mail\nroot:root 1777 /tmp\n\
         _apt:root 700 /var/cache/apt/archives/partial\n"
    );
    // A user of the guest's own, and what is written outlives a stop.
    world.shell(
        "deb",
        "useradd --create-home ann && echo kept > /home/ann/kept && chown ann: /home/ann/kept",
    );
    let _ = world.ok(&["stop", "deb"]);
    let _ = world.ok(&["start", "deb", "--detach"]);
    assert_eq!(
        world.shell("deb", "stat -c %U /home/ann/kept; cat /home/ann/kept"),
        "ann\nkept\n"
    );
    world.stop_and_remove("deb");
}

/// Units that fail for reasons of the guest's kernel: Debian's cloud kernel is told to load modules that its initrd lacks.
const MAY_FAIL: [&str; 2] = ["systemd-modules-load.service", "modprobe@"];

#[test]
fn an_image_with_systemd_boots_with_it() {
    let Some(world) = world_with(Image::Systemd, "an_image_with_systemd_boots_with_it") else {
        return;
    };
    start(&world, "sysd", Image::Systemd, "256M", &[]);
    assert_eq!(world.shell("sysd", "cat /proc/1/comm"), "systemd\n");
    // Before its bus is there, systemctl cannot wait.
    let wait = "until state=$(systemctl is-system-running --wait 2> /dev/null) || [ \"$state\" = degraded ]; do sleep 0.1; done; echo $state";
    let state = world.shell("sysd", wait);
    let failed = world.ok(&["exec", "sysd", "systemctl", "--failed", "--plain", "--no-legend"]);
    let known = |line: &str| MAY_FAIL.iter().any(|unit| line.starts_with(unit));
    assert!(failed.lines().all(known), "{state}\n{failed}");
    let expected = if failed.is_empty() { "running" } else { "degraded" };
    assert_eq!(state.trim(), expected, "{failed}");
    let ids = world.shell("sysd", "cat /etc/machine-id; systemctl show -P ActiveState dbus");
    assert!(ids.len() > 32 && ids.ends_with("active\n"), "{ids}");
    let ran = world.run(&["stop", "sysd"]);
    assert!(
        ran.stderr.contains("sysd has stopped") && !ran.stderr.contains("killed"),
        "{ran}"
    );
    let _ = world.ok(&["rm", "sysd"]);
    world.sandbox.assert_clean();
}
