//! `knaller run`: a machine for one command, gone with it.

use rustix::process::Signal;
use testkit::run_with;

use crate::world::World;

const RUN: [&str; 4] = ["run", "--memory", "128M", "builtin"];

#[test]
fn the_commands_streams_and_exit_code_are_ours() {
    let world = World::new();
    let ran = world.run(&[&RUN[..], &["sh", "-c", "echo out; echo err >&2; exit 7"]].concat());
    assert_eq!((ran.code(), &*ran.stdout), (7, "out\n"));
    assert!(ran.stderr.ends_with("err\n"), "{}", ran.stderr);
    assert_eq!(world.ok(&["list", "-o", "name"]), "");
    world.sandbox.assert_clean();

    // As it is, whatever a shell would make of it; and the input is its input.
    let words = ["printf", "%s|", "two  words", "$HOME", "*", ""];
    assert_eq!(world.ok(&[&RUN[..], &words].concat()), "two  words|$HOME|*||");
    let ran = run_with(
        &mut world.command(&[&RUN[..], &["tr", "a-z", "A-Z"]].concat()),
        b"hello",
    );
    assert_eq!(ran.ok(), "HELLO");
    world
        .run(&[&RUN[..], &["/no/such/program"]].concat())
        .fails(127, &["/no/such/program"]);
    world.sandbox.assert_clean();
}

#[test]
fn a_guest_may_be_called_by_a_name_with_a_domain() {
    let world = World::new();
    let line = "hostname; grep web /etc/hosts; ping -c 1 web > /dev/null && echo found";
    let run = [
        "run",
        "--memory",
        "128M",
        "--hostname",
        "web.example.org",
        "builtin",
    ];
    let said = world.ok(&[&run[..], &["sh", "-c", line]].concat());
    assert_eq!(said, "web.example.org\n127.0.1.1\tweb.example.org web\nfound\n");
    world.sandbox.assert_clean();
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing() {
    // A shell starts what runs in its background with Ctrl-C ignored, the tests too.
    let world = World::new().through(["env", "--default-signal=INT"]);
    // In the command, and before there is one.
    let mut running = world.spawn(&[&RUN[..], &["sh", "-c", "echo up; exec sleep 1000"]].concat());
    running.line("up");
    running.signal(Signal::INT);
    let (code, said) = running.end();
    assert_eq!(code, 128 + 2, "{said}");
    world.sandbox.assert_clean();

    let running = world.spawn(&[&RUN[..], &["true"]].concat());
    running.heeds(Signal::INT);
    running.signal(Signal::INT);
    let (code, said) = running.end();
    assert!(matches!(code, 130 | -1), "{code}: {said}");
    assert_eq!(world.ok(&["list", "-o", "name"]), "");
    world.sandbox.assert_clean();
}

#[test]
fn a_run_that_is_killed_leaves_nothing_to_the_next_command() {
    let world = World::new();
    let mut running = world.spawn(&[&RUN[..], &["sh", "-c", "echo up; exec sleep 1000"]].concat());
    running.line("up");
    let listed = world.ok(&["list", "-o", "name"]);
    assert_eq!(listed.lines().count(), 1, "others leave it alone: {listed}");
    running.signal(Signal::KILL);
    let _ = running.end();
    let told = world.ok(&["prune", "-o", "json"]);
    assert!(told.contains("forsaken"), "{told}");
    assert_eq!(world.ok(&["list", "-o", "name"]), "");
    world.sandbox.assert_clean();
}
