//! Processes that are killed, many starts at once, a host without disk space: the next command puts right what was
//! left, and a guest is told what befell it. Every fault at every step is in [`matrix`], many processes at once in
//! [`interleavings`] and [`crowd`]; what holds after all of it in [`invariants`].

#[cfg(target_arch = "x86_64")]
mod crowd;
#[cfg(target_arch = "x86_64")]
mod interleavings;
#[cfg(target_arch = "x86_64")]
mod invariants;
#[cfg(target_arch = "x86_64")]
mod kept;
#[cfg(target_arch = "x86_64")]
mod matrix;
#[cfg(target_arch = "x86_64")]
mod scenarios;
#[cfg(target_arch = "x86_64")]
mod seed;
#[cfg(target_arch = "x86_64")]
mod turns;

use std::collections::HashSet;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use testkit::{is_root, skip};

use crate::world::{Running, World};

#[test]
fn a_machine_whose_process_is_killed_starts_again_and_leaves_nothing() {
    let world = World::new();
    world.start("hit", &["-p", "127.0.0.1:0:80"]);
    world.run(&["start", "hit", "--memory", "128M"]).fails(
        4,
        &["a machine named hit exists already (running)", "knaller rm hit"],
    );
    for victim in ["pasta", "sparkler"] {
        kill(&world, victim);
        let waiting = world.run(&["wait", "hit"]);
        waiting.fails(9, &["hit ended without a word"]);
        assert_eq!(world.inspect("hit")["state"], "stopped", "{victim}");
        let _ = world.ok(&["start", "hit", "--detach"]);
        assert_eq!(world.shell("hit", "echo well"), "well\n");
    }
    // Right after it, while pasta and QEMU are ending still: prune finds all there is, and then nothing more.
    let sockets = world.sandbox.runtime().join("knaller/hit");
    kill(&world, "sparkler");
    while UnixStream::connect(sockets.join("api.sock")).is_ok() {
        std::thread::yield_now();
    }
    let found: Value = serde_json::from_str(&world.ok(&["prune", "-o", "json"])).unwrap();
    assert_eq!(
        (found[0]["kind"].as_str(), found[0]["name"].as_str()),
        (Some("ended"), Some("hit"))
    );
    assert!(!sockets.exists());
    assert_eq!(world.ok(&["prune", "-o", "json"]).trim(), "[]");
    let _ = world.ok(&["start", "hit", "--detach"]);
    kill(&world, "qemu-system");
    world.run(&["wait", "hit"]).fails(9, &["its VMM died"]);
    let _ = world.ok(&["rm", "hit"]);
    world.sandbox.assert_clean();
}

fn kill(world: &World, program: &str) {
    let found = world.sandbox.processes();
    let process = found
        .iter()
        .find(|process| process.program().starts_with(program));
    process.unwrap().kill();
}

#[test]
fn ten_starts_by_ten_commands_at_once() {
    let world = World::new();
    let words = "start --detach --memory 96M --image initramfs -p 0:80 --boot-timeout 600";
    let words: Vec<_> = words.split(' ').collect();
    let starts: Vec<_> = (0..10).map(|_| world.spawn(&words)).collect();
    for start in starts {
        let (code, said) = start.end();
        assert_eq!(code, 0, "{said}");
    }
    let listed: Vec<Value> = serde_json::from_str(&world.ok(&["list", "-o", "json"])).unwrap();
    assert!(
        listed.iter().all(|machine| machine["state"] == "running"),
        "{listed:?}"
    );
    let names: HashSet<_> = listed
        .iter()
        .map(|machine| machine["name"].as_str().unwrap())
        .collect();
    let ports: HashSet<_> = listed
        .iter()
        .map(|machine| &machine["forwards"][0]["host_port"])
        .collect();
    assert_eq!((names.len(), ports.len()), (10, 10), "{listed:?}");
    let names: Vec<_> = names.into_iter().collect();
    let _ = world.ok(&[&["rm", "--force"], &names[..]].concat());
    world.sandbox.assert_clean();
}

/// A disk of the machines' own, as small as is wanted.
struct SmallDisk {
    holder: Running,
    machines: PathBuf,
}

impl SmallDisk {
    /// For the machines of a world, whose commands see it from now on.
    fn new(world: World, size: &str) -> (World, Self) {
        let machines = world.sandbox.data().join("knaller/vms");
        let small = "mkdir -m 700 \"$0\" && mount -t tmpfs -o mode=700,size=$1 none \"$0\" && echo mounted && exec sleep infinity";
        let mut holder = Command::new("unshare");
        holder
            .args(["--mount", "sh", "-c", small])
            .arg(&machines)
            .arg(size);
        let mut holder = Running::new(&mut holder);
        holder.line("mounted");
        let disk = Self { holder, machines };
        (world.through(["nsenter", &disk.namespace()]), disk)
    }

    fn namespace(&self) -> String {
        format!("--mount=/proc/{}/ns/mnt", self.holder.child.id())
    }

    fn folder(&self) -> &str {
        self.machines.to_str().unwrap()
    }

    fn resize(&self, size: &str) {
        let size = format!("remount,size={size}");
        let _ = self.run(&["mount", "-o", &size, self.folder()]);
    }

    /// What a program that sees it prints.
    fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        testkit::run(command.arg(self.namespace()).args(words)).ok()
    }
}

#[test]
fn a_host_whose_disk_is_full() {
    if !is_root() {
        return skip("a_host_whose_disk_is_full", "root, who may mount a small disk");
    }
    let (world, disk) = SmallDisk::new(World::new(), "16k");
    let start = ["start", "x", "--detach", "--memory", "128M", "--network", "none"];
    world
        .run(&start)
        .fails(8, &["cannot start x: ", disk.folder(), "its disk is full"]);
    assert_eq!(world.ok(&["list", "-o", "name"]), "");

    // Room for the start, but not for all that the guest's disk could hold: the guest's program is told, and the guest
    // goes on.
    disk.resize("8m");
    let _ = world.ok(&start);
    let fill = [
        "exec",
        "x",
        "dd",
        "if=/dev/urandom",
        "of=/root/fill",
        "bs=1M",
        "count=20",
        "conv=fsync",
    ];
    world.run(&fill).fails(1, &["Input/output error"]);
    assert_eq!(world.ok(&["exec", "x", "echo", "well"]), "well\n");
    let _ = world.ok(&["rm", "--force", "x"]);
    drop(disk);
    world.sandbox.assert_clean();
}

#[test]
fn a_disk_that_has_no_room_for_a_guest_s_memory() {
    if !is_root() {
        return skip(
            "a_disk_that_has_no_room_for_a_guest_s_memory",
            "root, who may mount a small disk",
        );
    }
    let (world, disk) = SmallDisk::new(World::new(), "8m");
    let shape = ["--memory", "128M", "--network", "none"];
    let make = [&["template", "make"], &shape[..]].concat();
    let made = world.run(&make);
    let full = [
        "handover/memory cannot be written: its disk is full",
        "hint: make room",
    ];
    let said = |of: &str| [&[format!("{}/{of}", disk.folder())], &full.map(str::to_owned)[..]].concat();
    let fails = |ran: testkit::Ran, of: &str| {
        let said = said(of);
        ran.fails(8, &said.iter().map(String::as_str).collect::<Vec<_>>());
    };
    assert_eq!(
        made.stderr.matches("cannot be written").count(),
        1,
        "{}",
        made.stderr
    );
    fails(made, "");
    let _ = world.ok(&[&["start", "x", "--detach"], &shape[..]].concat());
    let handover = format!("{}/x/handover", disk.folder());
    for words in [
        &["snapshot", "create", "x", "--name", "s"][..],
        &["fork", "x", "--name", "y"],
    ] {
        fails(world.run(words), "x/");
        assert_eq!(world.inspect("x")["state"], "running", "{words:?}");
        assert_eq!(world.ok(&["exec", "x", "echo", "well"]), "well\n", "{words:?}");
        assert_eq!(
            disk.run(&["find", &handover, "-type", "f", "-size", "+1M"]),
            "",
            "{words:?}"
        );
    }
    assert_eq!(world.ok(&["list", "-o", "name"]), "x\n");
    for list in ["snapshot", "template"] {
        assert_eq!(world.ok(&[list, "ls", "-o", "name"]), "", "{list}");
    }
    assert!(world.ok(&["prune"]).is_empty());
    // The machine was none the worse for it: with room, it is kept.
    disk.resize("256m");
    let _ = world.ok(&["snapshot", "create", "x", "--name", "s"]);
    assert_eq!(world.ok(&["snapshot", "ls", "-o", "name"]), "s\n");
    let _ = world.ok(&["rm", "--force", "x"]);
    let _ = world.ok(&["snapshot", "rm", "s"]);
    drop(disk);
    world.sandbox.assert_clean();
}
