//! From up to off: who may ask for it, and what is left on the disk; and the worker's second life.

use std::process::Command;

use guest_protocol::Exit;
use testkit::Sandbox;

use crate::guest::{Guest, Plan, debugfs};

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
    let state = Command::new("dumpe2fs").arg("-h").arg(upper).output().unwrap();
    assert!(
        !String::from_utf8_lossy(&state.stdout).contains("needs_recovery"),
        "the journal was not closed"
    );
    std::fs::remove_dir_all(sandbox.path().join("vm")).unwrap();
    let mut guest = Guest::start(&sandbox, &plan);
    assert_eq!(guest.exited(), Exit::Code(4));
    guest.off();
}
