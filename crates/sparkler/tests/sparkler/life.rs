//! How machines start and end, and what is left of them.

use rustix::process::{Signal, kill_process};
use serde_json::json;

use super::guest;
use super::machine::{BOOT_ARGS, Machine, exists};

#[test]
fn a_guest_that_reboots_or_powers_off_ends_the_process_with_0() {
    for (command, word) in [("reboot -f", "rebooted"), ("poweroff -f", "powered off")] {
        let mut machine = Machine::booted(&["--id", "life-1"]);
        let info = machine.get("/");
        assert_eq!(
            (&info["id"], &info["state"]),
            (&json!("life-1"), &json!("Running"))
        );
        assert_eq!(info["app_name"], "Firecracker");
        machine.type_line(command);
        assert_eq!(machine.exit_code(), 0, "{}", machine.output);
        assert!(
            machine.output.contains(&format!("the guest {word}")),
            "{}",
            machine.output
        );
        assert!(machine.output.contains("exit_code=0"));
        assert!(!exists(&machine.socket()));
    }
}

#[test]
fn a_panic_is_told_apart() {
    let mut machine = Machine::booted(&[]);
    machine.type_line("echo c > /proc/sysrq-trigger");
    assert_eq!(machine.exit_code(), 160, "{}", machine.output);
    assert!(
        machine
            .output
            .contains("Kernel panic - not syncing: sysrq triggered crash"),
        "{}",
        machine.output
    );
    assert!(
        machine
            .output
            .contains("Vmm is stopping: the guest's kernel panicked"),
        "{}",
        machine.output
    );
}

#[test]
fn a_triple_fault_is_told_apart() {
    let mut machine = Machine::start(&[]);
    // reboot=t is Linux's way to restart by a triple fault.
    machine.boot_source(&BOOT_ARGS.replace("reboot=k", "reboot=t"));
    machine.go();
    machine.type_line("reboot -f");
    assert_eq!(machine.exit_code(), 161, "{}", machine.output);
    assert!(machine.output.contains("triple fault"), "{}", machine.output);
}

#[test]
fn a_killed_qemu_ends_sparkler_and_tells_the_signal() {
    for (signal, code) in [(Signal::KILL, 1), (Signal::SEGV, 150), (Signal::SYS, 148)] {
        let mut machine = Machine::booted(&[]);
        kill_process(machine.qemu(), signal).unwrap();
        assert_eq!(machine.exit_code(), code, "{}", machine.output);
        let text = format!("QEMU was ended by signal {}", signal.as_raw());
        assert!(machine.output.contains(&text), "{}", machine.output);
        assert!(!exists(&machine.socket()));
    }
}

#[test]
fn a_killed_sparkler_leaves_no_process() {
    let mut machine = Machine::booted(&[]);
    let qemu = machine.qemu();
    machine.signal(Signal::KILL);
    machine.wait();
    // The sandbox would find QEMU; that it is gone at once is better.
    let handle = rustix::process::pidfd_open(qemu, rustix::process::PidfdFlags::empty());
    if let Ok(handle) = handle {
        let mut wait = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut wait, None).unwrap();
    }
    // As with Firecracker, the socket of a killed process stays, and is in the way of the next.
    assert!(exists(&machine.socket()));
}

#[test]
fn a_socket_that_exists_is_refused() {
    let machine = Machine::start(&[]);
    let socket = machine.socket();
    let output = machine
        .sandbox
        .command(env!("CARGO_BIN_EXE_sparkler"))
        .arg("--api-sock")
        .arg(&socket)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = format!(
        "Failed to open the API socket at: {}. Check that it is not already used.",
        socket.display()
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains(&text));
    assert!(exists(&socket), "it belongs to the other");
}

#[test]
fn signals_end_it_as_they_end_firecracker() {
    use std::os::unix::process::ExitStatusExt;
    for (signal, ends) in [(Signal::HUP, (Some(156), None)), (Signal::TERM, (None, Some(15)))] {
        let mut machine = Machine::booted(&[]);
        machine.signal(signal);
        let status = machine.wait();
        assert_eq!((status.code(), status.signal()), ends, "{}", machine.output);
        assert!(!exists(&machine.socket()));
    }
}

#[test]
fn a_bzimage_boots_without_an_api() {
    let boot = guest::boot();
    let config = json!({
        "boot-source": { "kernel_image_path": boot.bzimage, "initrd_path": boot.initrd, "boot_args": BOOT_ARGS },
        "drives": [],
        "machine-config": { "vcpu_count": 2, "mem_size_mib": 192, "smt": true },
    });
    let mut machine = Machine::from_config(&config, &["--no-api"]);
    machine.wait_for("guest: ready");
    assert_eq!(machine.sh("nproc"), "2");
    machine.type_line("reboot -f");
    assert_eq!(machine.exit_code(), 0);
}

#[test]
fn a_paused_guest_does_nothing_until_it_is_resumed() {
    let mut machine = Machine::booted(&[]);
    machine.patch("/vm", &json!({ "state": "Paused" }));
    assert_eq!(machine.get("/")["state"], "Paused");
    machine.patch("/vm", &json!({ "state": "Paused" }));
    machine.type_line("echo while paused");
    machine.patch("/vm", &json!({ "state": "Resumed" }));
    assert_eq!(machine.get("/")["state"], "Running");
    let resumed = machine.output.len();
    machine.wait_for("while paused");
    assert!(machine.output[resumed..].contains("while paused"));
}

#[test]
fn ctrl_alt_del_reboots_the_guest() {
    let mut machine = Machine::booted(&[]);
    machine.action("SendCtrlAltDel");
    assert_eq!(machine.exit_code(), 0, "{}", machine.output);
}

#[test]
fn a_start_that_fails_can_be_tried_again() {
    let mut machine = Machine::start(&[]);
    let start = json!({ "action_type": "InstanceStart" });
    let missing = machine.refused("PUT", "/actions", &start);
    assert_eq!(
        missing,
        "Start microvm error: Cannot start microvm without kernel configuration."
    );
    let text = machine.file("no-kernel", b"#!/bin/sh\n");
    machine.put("/boot-source", &json!({ "kernel_image_path": text }));
    let wrong = machine.refused("PUT", "/actions", &start);
    assert!(
        wrong.contains("invalid kernel image: the file is neither an ELF kernel nor"),
        "{wrong}"
    );
    machine.put(
        "/vsock",
        &json!({ "guest_cid": 3, "uds_path": machine.path("v.sock") }),
    );
    machine.boot_source(BOOT_ARGS);
    // More than any host has: QEMU itself refuses.
    machine.put(
        "/machine-config",
        &json!({ "vcpu_count": 1, "mem_size_mib": 1u64 << 40 }),
    );
    let qemu = machine.refused("PUT", "/actions", &start);
    assert!(qemu.starts_with("Start microvm error: QEMU: "), "{qemu}");
    assert_eq!(machine.get("/")["state"], "Not started");
    machine.put(
        "/machine-config",
        &json!({ "vcpu_count": 1, "mem_size_mib": 128 }),
    );
    machine.go();
    assert_eq!(
        machine.sh("cat /sys/class/vsock/vsock/dev >/dev/null 2>&1; ls /dev/vsock"),
        "/dev/vsock"
    );
}
