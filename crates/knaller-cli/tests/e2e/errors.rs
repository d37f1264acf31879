//! Starts that fail, each for real: the text says what happened, to what, and what to do, and nothing is left behind.
//! A name that is taken is in `life.rs`, a port in `network.rs`.

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::{Pid, Signal};
use testkit::Ran;

use crate::world::{Running, World};

/// Programs that are linked statically on every Debian, and are no init.
const ENDS_AT_ONCE: &str = "/sbin/ldconfig";
const NEVER_ASKS: &str = "/bin/busybox";

const START: [&str; 6] = ["start", "x", "--detach", "--memory", "128M", "--verbose"];

/// Runs it with a variable set.
fn with(world: &World, words: &[&str], variable: &str, value: impl AsRef<Path>) -> Ran {
    testkit::run(world.command(words).env(variable, value.as_ref()))
}

#[test]
fn what_the_host_lacks_is_named_with_its_remedy() {
    World::without_kernel()
        .run(&["start", "x"])
        .fails(7, &["there is no kernel yet", "knaller kernel import"]);

    let world = World::new();
    world.run(&["start", "x", "--memory", "4000G"]).fails(
        8,
        &[
            "not enough memory: 4096000 MiB are wanted and ",
            "ask for less with --memory",
        ],
    );

    // A kernel whose drivers are in no folder of modules.
    let folder = testkit::kernel_root().join("boot");
    let mut kernels = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let kernel = kernels
        .find(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .unwrap();
    let bare = world.file("kernel", std::fs::read(kernel).unwrap());
    world
        .run(&["start", "x", "--kernel", bare.to_str().unwrap()])
        .fails(
            7,
            &["kernel without virtio", "virtio_blk", "linux-image-cloud-amd64"],
        );

    let programs = world.sandbox.home().join("bin");
    std::fs::create_dir(&programs).unwrap();
    symlink("/usr/bin/qemu-system-x86_64", programs.join("qemu-system-x86_64")).unwrap();
    with(&world, &START, "PATH", &programs).fails(6, &["pasta was not found", "sudo apt-get install passt"]);
    assert_eq!(world.ok(&["list", "-o", "name"]), "");
}

#[test]
fn user_namespaces_that_are_forbidden() {
    // In a user namespace of its own, where the switch is this test's alone; as the same user, without capabilities.
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps -all --inh-caps -all \"$@\"";
    let inside = [
        "unshare",
        "--user",
        "--map-current-user",
        "--keep-caps",
        "sh",
        "-c",
        forbid,
        "sh",
    ];
    let world = World::of_ordinary_user().inside(inside);
    world.run(&START).fails(
        6,
        &[
            "user namespaces are forbidden: user.max_user_namespaces is 0",
            "sudo sysctl -w user.max_user_namespaces=",
        ],
    );
}

#[test]
fn a_guest_that_panics() {
    let world = World::new();
    with(&world, &START, "KNALLER_POWERUNIT", ENDS_AT_ONCE).fails(
        10,
        &[
            "cannot start x: the guest panicked: Kernel panic - not syncing: Attempted to kill init!",
            "the end of the guest's console",
        ],
    );
    world.sandbox.assert_clean();
    // And when it was up already, for the one who waits.
    let crash = [
        "start",
        "x",
        "--rm",
        "-m",
        "128M",
        "--",
        "sh",
        "-c",
        "echo c > /proc/sysrq-trigger",
    ];
    world
        .run(&crash)
        .fails(10, &["Kernel panic - not syncing: sysrq triggered crash"]);
    world.sandbox.assert_clean();
}

#[test]
fn a_guest_that_never_asks_for_its_config() {
    let world = World::new();
    let words = [&START[..], &["--boot-timeout", "10"]].concat();
    with(&world, &words, "KNALLER_POWERUNIT", NEVER_ASKS).fails(
        11,
        &[
            "cannot start x: the guest never asked for its config within 10.0 s",
            "--boot-timeout",
        ],
    );
}

#[test]
fn a_guest_that_falls_silent_before_its_ssh_answers() {
    let world = World::new();
    let mut start = start_until(&world, "boot", &["--boot-timeout", "10"]);
    // Looked for before: from the config on the guest needs a tenth of a second.
    let qemu = process(&world, "qemu-system");
    start.line("\"config\"");
    rustix::process::kill_process(qemu, Signal::STOP).unwrap();
    start.line("SSH did not answer within 10.0 s");
    let (code, said) = start.end();
    assert_eq!(code, 11, "{said}");
    assert!(said.contains("--boot-timeout"), "{said}");
}

#[test]
fn a_vmm_that_dies() {
    let world = World::new();
    let mut start = start_until(&world, "boot", &[]);
    signal(&world, "qemu-system", Signal::KILL);
    start.line("cannot start x: sparkler died");
    let (code, said) = start.end();
    assert_eq!(code, 9, "{said}");
    for text in ["the end of the VMM's log", "QEMU", "knaller doctor"] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
}

/// A start that has just done this step.
fn start_until(world: &World, step: &str, options: &[&str]) -> Running {
    let log = ["--log", "knaller::start=debug"];
    let mut start = world.spawn(&[&START[..], &log, options].concat());
    start.line(&format!("{step:?}"));
    start
}

/// Sends a signal to the one process of the world that runs this program.
fn signal(world: &World, program: &str, signal: Signal) {
    rustix::process::kill_process(process(world, program), signal).unwrap();
}

/// The one process of the world that runs this program.
fn process(world: &World, program: &str) -> Pid {
    let found = world.sandbox.processes();
    let process = found
        .iter()
        .find(|process| process.program().starts_with(program));
    Pid::from_raw(process.unwrap().pid).unwrap()
}
