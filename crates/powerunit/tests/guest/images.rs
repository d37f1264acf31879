//! Images that lack what others have: one static program and nothing else, links into nowhere, C libraries of all kinds.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use guest_protocol::exec::Exec;
use guest_protocol::{Exit, Network};
use testkit::Sandbox;

use crate::door::{Door, with_key};
use crate::guest::{Guest, Plan, tree};

/// An image of one static program, changed by `change` in a folder that holds what becomes the image.
fn scratch(sandbox: &Sandbox, change: impl FnOnce(&Path)) -> PathBuf {
    tree(sandbox, |root| {
        std::fs::copy("/bin/busybox", root.join("busybox")).unwrap();
        change(root);
    })
}

/// `script` as the entrypoint of a guest above `base`.
fn plan(sandbox: &Sandbox, base: PathBuf, script: &str) -> Plan {
    let mut plan = Plan::overlay(sandbox, script);
    plan.disks[0].0 = base;
    if let Some(entrypoint) = &mut plan.config.entrypoint {
        entrypoint.argv = ["/busybox", "sh", "-c", script].map(Into::into).into();
    }
    plan.config.network = Some(Network {
        interfaces: Vec::new(),
        dns: vec!["192.0.2.53".parse().unwrap()],
        search: Vec::new(),
        pins: Vec::new(),
    });
    plan
}

/// How `script` ends, and what the console shows.
fn run(sandbox: &Sandbox, plan: &Plan) -> (Exit, String) {
    let mut guest = Guest::start(sandbox, plan);
    let exit = guest.exited();
    (exit, guest.off())
}

/// What every program may count on, whatever the image is.
const COMPLETE: &str = "for a in cat grep stat readlink; do eval \"$a() { /busybox $a \\\"\\$@\\\"; }\"; done; set -e; \
    [ $(stat -c %a -L /tmp) = 1777 ]; [ -c /dev/null ]; [ -d /proc/self ]; [ -d /sys/class ]; \
    grep -q ' /run tmpfs ' /proc/mounts || grep -q ' /var/run tmpfs ' /proc/mounts; [ -c /dev/pts/ptmx ]; \
    grep -q localhost /etc/hosts; grep -q '^nameserver 192.0.2.53$' /etc/resolv.conf; [ $(cat /etc/hostname) = box ]; \
    [ $(readlink /etc/mtab) = ../proc/self/mounts ]; echo complete; ";

#[test]
fn a_program_alone_runs_as_any_user_and_is_stopped_by_its_own_signal() {
    let sandbox = Sandbox::new();
    let script = format!(
        "{COMPLETE} /busybox id; echo $PATH $HOME $HOSTNAME; pwd; trap 'echo asked; exit 5' 37; \
         /busybox kill -PWR 1 2>/dev/null || echo may not; echo up; while :; do /busybox sleep 1; done"
    );
    let mut plan = plan(&sandbox, scratch(&sandbox, |_| ()), &script);
    plan.entrypoint().user = "4711:4712".into();
    plan.entrypoint().workdir = "deep/er".into();
    plan.entrypoint().stop_signal = "SIGRTMIN+3".into();
    let mut guest = Guest::start(&sandbox, &plan);
    guest.ready();
    guest.console_when("up\n");
    guest.ctrl_alt_del();
    assert_eq!(guest.exited(), Exit::Code(5));
    let console = guest.off();
    for line in [
        "complete",
        "uid=4711 gid=4712 groups=4712",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin / box",
        "/deep/er",
        "may not",
        "asked",
    ] {
        assert!(
            console.lines().any(|seen| seen == line),
            "no {line:?}:\n{console}"
        );
    }
}

/// Nothing to mount on, no accounts, no /etc: what is needed is made before the root is closed, also where the root is a disk.
#[test]
fn a_program_alone_runs_in_a_read_only_root() {
    let script = format!(
        "{COMPLETE} for f in / /tmp /etc /var /dev/no/such; do /busybox touch $f/no 2>/dev/null && exit 9; done; \
         /busybox touch /run/yes /dev/shm/yes; /busybox id"
    );
    for disk in [false, true] {
        let sandbox = Sandbox::new();
        let base = scratch(&sandbox, |_| ());
        let mut plan = plan(&sandbox, base.clone(), &script);
        plan.config.read_only = true;
        if disk {
            plan.config.root = Plan::disk(base.clone(), false, "").config.root;
            plan.disks = vec![(base, false)];
        }
        let (exit, console) = run(&sandbox, &plan);
        assert_eq!(exit, Exit::Code(0), "{console}");
        assert!(console.contains("uid=0 gid=0 groups=0\n"), "{console}");
        let failures = ["powerunit: mounts:", "powerunit: names:"];
        assert!(
            !failures.iter().any(|failure| console.contains(failure)),
            "{console}"
        );
    }
}

#[test]
fn a_disk_that_nobody_may_write_to_must_have_folders_to_mount_on() {
    let sandbox = Sandbox::new();
    let base = scratch(&sandbox, |root| std::fs::create_dir(root.join("dev")).unwrap());
    let mut guest = Guest::start(&sandbox, &Plan::disk(base, true, "true"));
    let (step, why) = guest.failed();
    assert_eq!(
        (step.as_str(), why.as_str()),
        (
            "root",
            "the root file system cannot be written to, and has no folder /proc for what is mounted there"
        )
    );
    assert!(guest.ssh_banner().starts_with("SSH-2.0-"));
}

#[test]
fn a_program_alone_is_reached_over_ssh() {
    let sandbox = Sandbox::new();
    let mut guest = Guest::start(&sandbox, &with_key(plan(&sandbox, scratch(&sandbox, |_| ()), "")));
    guest.ready();
    let door = Door::open(guest.folder());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let words = door.run("/busybox echo 'a  b' \"c $d\"");
    assert_eq!(text(words.stdout), "a  b c $d\n");
    let login = door.ssh(&["-tt"]).output().unwrap();
    assert_eq!(login.status.code(), Some(127));
    let why =
        "powerunit: this image has no shell (/bin/sh); give a command instead: it is executed directly\r\n";
    assert_eq!(text(login.stdout) + &text(login.stderr), why);
    let exec = Exec {
        argv: ["/busybox", "sh", "-c", "/busybox id -u; pwd; exit 9"]
            .map(Into::into)
            .into(),
        user: "4711".into(),
        workdir: "/made".into(),
        ..Exec::default()
    };
    let ran = door.exec(&exec);
    assert_eq!(
        (ran.status.code(), text(ran.stdout).as_str()),
        (Some(9), "4711\n/made\n")
    );
    let (sent, back, batch) = (
        sandbox.path().join("sent"),
        sandbox.path().join("back"),
        sandbox.path().join("batch"),
    );
    std::fs::write(&sent, "content").unwrap();
    std::fs::write(
        &batch,
        format!(
            "put {} /new\nls -l /\nget /new {}\n",
            sent.display(),
            back.display()
        ),
    )
    .unwrap();
    let copied = door.sftp(&batch);
    assert!(copied.status.success(), "{}", text(copied.stderr));
    assert_eq!(std::fs::read_to_string(back).unwrap(), "content");
}

#[test]
fn links_into_nowhere_and_out_of_the_image_are_followed_inside_it() {
    let sandbox = Sandbox::new();
    let base = scratch(&sandbox, |root| {
        std::fs::create_dir(root.join("etc")).unwrap();
        for (name, target) in [
            ("dev", "/devices/all"),
            ("proc", "../../../process"),
            ("run", "var/run"),
            ("tmp", "/var/tmp"),
            ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
            ("etc/hosts", "hosts"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
    });
    let script = format!(
        "{COMPLETE} [ -c /devices/all/null ]; [ -d /process/1 ]; [ -d /var/run/lock ]; [ ! -L /etc/hosts ]"
    );
    let (exit, console) = run(&sandbox, &plan(&sandbox, base, &script));
    assert_eq!(exit, Exit::Code(0), "{console}");
}

/// The loaders and libraries of this machine, at the places where programs look for them.
#[test]
fn programs_find_their_c_library_in_merged_and_unmerged_trees() {
    let sandbox = Sandbox::new();
    let source = sandbox.path().join("hello.c");
    std::fs::write(
        &source,
        "#include <stdio.h>\nint main() { puts(\"hello\"); return 0; }\n",
    )
    .unwrap();
    let compile = |compiler: &str, name: &str| {
        let program = sandbox.path().join(name);
        let status = Command::new(compiler)
            .arg(&source)
            .arg("-o")
            .arg(&program)
            .status();
        assert!(status.unwrap().success());
        program
    };
    let (glibc, musl) = (compile("gcc", "glibc"), compile("musl-gcc", "musl"));
    let base = scratch(&sandbox, |root| {
        // Merged for glibc, as Debian is; not merged for musl, as Alpine was.
        for folder in ["usr/lib64", "usr/lib/x86_64-linux-gnu", "usr/bin", "lib"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        symlink("usr/lib64", root.join("lib64")).unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        for (from, to) in [
            (glibc.as_path(), "usr/bin/glibc"),
            (musl.as_path(), "usr/bin/musl"),
            (
                Path::new("/lib64/ld-linux-x86-64.so.2"),
                "usr/lib64/ld-linux-x86-64.so.2",
            ),
            (
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                "usr/lib/x86_64-linux-gnu/libc.so.6",
            ),
            (
                Path::new("/usr/lib/x86_64-linux-musl/libc.so"),
                "lib/ld-musl-x86_64.so.1",
            ),
        ] {
            std::fs::copy(from, root.join(to)).unwrap();
        }
    });
    let (exit, console) = run(&sandbox, &plan(&sandbox, base, "set -e; glibc; /bin/musl"));
    assert_eq!(exit, Exit::Code(0), "{console}");
    assert_eq!(console.matches("hello\n").count(), 2, "{console}");
}
