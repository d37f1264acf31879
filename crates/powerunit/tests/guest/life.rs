//! From up to off: who may ask for it, and what is left on the disk; and the worker's second life.

use std::path::PathBuf;

use guest_protocol::control::{Reply, Request};
use guest_protocol::{Exit, Init};
use testkit::Sandbox;

use crate::door::{Door, with_key};
use crate::guest::{Answer, Guest, Plan, debugfs, image, journal_is_closed, systemd};

#[test]
fn the_images_own_commands_end_the_machine() {
    for command in ["poweroff", "reboot", "halt"] {
        let sandbox = Sandbox::new();
        let plan = Plan::overlay(&sandbox, &format!("{command}; sleep 1000"));
        let mut guest = Guest::start(&sandbox, &plan);
        assert_eq!(guest.exited(), Exit::Signal(15), "{command}");
        guest.off();
    }
}

#[test]
fn what_was_written_is_there_at_the_next_boot_and_the_disk_is_clean() {
    let sandbox = Sandbox::new();
    let script = "[ -e /root/kept ] && exit 4; echo kept > /root/kept; mkdir /etc/moved-later; mv /etc /etc2 && mv /etc2 /etc; \
                  cat /proc/mounts; exit 3";
    let plan = Plan::overlay(&sandbox, script);
    let mut guest = Guest::start(&sandbox, &plan);
    assert_eq!(guest.exited(), Exit::Code(3));
    let console = guest.off();
    assert!(console.contains("overlay / overlay rw"), "{console}");
    let upper = &plan.disks[1].0;
    assert_eq!(
        debugfs(upper, &["cat upper/root/kept"]).lines().last(),
        Some("kept")
    );
    assert!(journal_is_closed(upper));
    std::fs::remove_dir_all(sandbox.path().join("vm")).unwrap();
    let mut guest = Guest::start(&sandbox, &plan);
    assert_eq!(guest.exited(), Exit::Code(4));
    guest.off();
}

#[test]
fn the_last_words_reach_the_console_however_quickly_the_machine_goes_off() {
    let sandbox = Sandbox::new();
    let plan = Plan::overlay(&sandbox, "true");
    // Much more than a serial port takes at once, and the last thing that happens.
    let reason: &str = "why not ".repeat(400).leak();
    let guest = Guest::start_with(&sandbox, &plan, |_| Answer::Refuse(reason));
    let console = guest.off();
    assert!(console.contains(&format!("{reason}\n")), "{console}");
}

/// Runs an image's own init, chosen by `init`, to the machine's end. Gives the console, and the disk above the image.
fn life_of_an_own_init(sandbox: &Sandbox, base: PathBuf, init: Init) -> (String, PathBuf) {
    let mut plan = Plan::overlay(sandbox, "");
    plan.disks[0].0 = base;
    plan.config.init = init;
    let mut guest = Guest::start(sandbox, &plan);
    assert_eq!(guest.ready().init, Init::Image);
    (guest.off(), plan.disks[1].0.clone())
}

/// As systemd-shutdown does it: the disk under the overlay has a second name, and is made read-only by it.
#[test]
fn an_image_with_its_own_init_can_close_the_disk_under_the_overlay() {
    let sandbox = Sandbox::new();
    let init = sandbox.path().join("init");
    let script = "#!/bin/sh\necho kept > /root/kept\nsync\nmount -o remount,ro / && mount -o remount,ro /run/initramfs/upper\n\
                  stat -c 'shown %a' /run/initramfs\nreboot -f\n";
    std::fs::write(&init, script).unwrap();
    let write = format!("write {} sbin/init", init.display());
    let base = image(&sandbox, &["rm sbin/init", &write, "sif sbin/init mode 0100755"]);
    let (console, upper) = life_of_an_own_init(&sandbox, base, Init::Image);
    assert!(console.contains("shown 700"), "{console}");
    assert!(journal_is_closed(&upper), "{console}");
    assert_eq!(
        debugfs(&upper, &["cat upper/root/kept"]).lines().last(),
        Some("kept")
    );
}

/// As systemd does it: the init is PID 1 for a while before it takes a signal for a wish.
#[test]
fn an_init_that_is_still_coming_up_is_asked_when_it_listens() {
    let sandbox = Sandbox::new();
    let init = sandbox.path().join("init");
    let script = "#!/bin/sh\ntrap '' INT\necho deaf\nwhile [ ! -e /run/awake ]; do sleep 1; done\n\
                  trap 'echo asked; sync; reboot -f' INT\nwhile :; do sleep 1; done\n";
    std::fs::write(&init, script).unwrap();
    let write = format!("write {} sbin/init", init.display());
    let mut plan = with_key(Plan::overlay(&sandbox, ""));
    plan.disks[0].0 = image(&sandbox, &["rm sbin/init", &write, "sif sbin/init mode 0100755"]);
    plan.config.init = Init::Image;
    let mut guest = Guest::start(&sandbox, &plan);
    assert_eq!(guest.ready().init, Init::Image);
    guest.console_when("deaf\n");
    let door = Door::open(guest.folder());
    let reply = door.control().ask(&Request::Shutdown { grace_ms: None });
    assert_eq!(reply, Reply::Stopping);
    assert!(door.run("touch /run/awake").status.success());
    let console = guest.off();
    assert!(console.contains("asked\n"), "{console}");
}

/// The same by systemd itself, which is asked to end the machine as soon as it is up.
#[test]
fn systemd_closes_the_disk_under_the_overlay() {
    let sandbox = Sandbox::new();
    let unit = sandbox.path().join("off.service");
    let text = "[Unit]\nAfter=basic.target\n[Service]\nType=oneshot\nExecStart=/bin/systemctl reboot\n";
    std::fs::write(&unit, text).unwrap();
    let commands = [
        format!("write {} etc/systemd/system/off.service", unit.display()),
        "mkdir etc/systemd/system/default.target.wants".to_owned(),
        "symlink etc/systemd/system/default.target.wants/off.service /etc/systemd/system/off.service"
            .to_owned(),
    ];
    let base = systemd(&sandbox, &commands.each_ref().map(String::as_str));
    let (console, upper) = life_of_an_own_init(&sandbox, base, Init::Auto);
    assert!(
        debugfs(&upper, &["ls upper/var/lib/systemd"]).contains("random-seed"),
        "{console}"
    );
    assert!(journal_is_closed(&upper), "{console}");
}

#[test]
fn a_machine_that_waits_for_a_disk_goes_off_when_it_is_asked_to() {
    let sandbox = Sandbox::new();
    let mut plan = Plan::overlay(&sandbox, "true");
    plan.config.root = serde_json::from_value(serde_json::json!({
        "kind": "disk",
        "disk": { "device": "vdq", "filesystem": "ext4" },
    }))
    .unwrap();
    let mut guest = Guest::start(&sandbox, &plan);
    guest.phase("network up");
    guest.ctrl_alt_del();
    let console = guest.off();
    assert!(!console.contains("no disk vdq appeared"), "{console}");
}

/// Modules that nobody waits for are loaded behind the machine's back, not behind a request to end it.
#[test]
fn a_machine_without_an_entrypoint_obeys_at_once() {
    let sandbox = Sandbox::new();
    let mut guest = Guest::start(&sandbox, &Plan::overlay(&sandbox, ""));
    guest.ready();
    guest.ctrl_alt_del();
    guest.off();
}

#[test]
fn a_worker_that_dies_is_replaced() {
    let sandbox = Sandbox::new();
    let script = "worker() { grep -l powerunit-ssh /proc/[0-9]*/comm 2>/dev/null; }; \
                  for i in 1 2 3; do old=$(worker); kill -KILL $(echo $old | cut -d/ -f3); \
                  while [ -z \"$(worker)\" ] || [ \"$(worker)\" = \"$old\" ]; do :; done; done; \
                  nc -w 60 127.0.0.1 22 < /dev/null | head -n 1";
    let mut guest = Guest::start(&sandbox, &Plan::overlay(&sandbox, script));
    assert_eq!(guest.exited(), Exit::Code(0));
    let console = guest.off();
    let restarts = console.matches("the SSH server ended (signal 9) and is started again");
    assert_eq!(restarts.count(), 3, "{console}");
    assert!(console.contains("SSH-2.0-"), "{console}");
}
