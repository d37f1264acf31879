//! The program that the VM exists for: as whom it runs, how it ends, and why it does not start.

use guest_protocol::{Exit, Init};
use testkit::Sandbox;

use crate::door::{Door, with_key};
use crate::guest::{Guest, Plan, debugfs, image, journal_is_closed};

/// How the entrypoint of `plan` ended, and the console of the whole life of its guest.
fn run(sandbox: &Sandbox, plan: &Plan) -> (Exit, String) {
    let mut guest = Guest::start(sandbox, plan);
    let exit = guest.exited();
    let console = guest.off();
    assert_eq!(
        guest_protocol::console::last_exit(&console),
        Some(exit.clone()),
        "{console}"
    );
    (exit, console)
}

#[test]
fn it_runs_as_the_images_user_with_the_configs_environment() {
    let sandbox = Sandbox::new();
    let (passwd, group) = (sandbox.path().join("passwd"), sandbox.path().join("group"));
    std::fs::write(
        &passwd,
        "root:x:0:0::/root:/bin/sh\nweb:x:1234:1235::/srv/web:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(&group, "root:x:0:\nweb:x:1235:\nlogs:x:40:web\n").unwrap();
    let (passwd, group) = (
        format!("write {} etc/passwd", passwd.display()),
        format!("write {} etc/group", group.display()),
    );
    let image = image(&sandbox, &["rm etc/passwd", "rm etc/group", &passwd, &group]);
    let script = "id; pwd; echo $0 $HOME $HOSTNAME $COLOUR; echo reopened > /dev/stdout; grep Sig /proc/self/status; \
                  ulimit -Sn; ulimit -Hn; exit 7";
    let mut plan = Plan::disk(image, false, script);
    plan.config.env.insert("COLOUR".into(), "blue".into());
    plan.entrypoint().user = "web".into();
    plan.entrypoint().workdir = "srv/new".into();
    plan.entrypoint().argv.push("zero".into());
    let (exit, console) = run(&sandbox, &plan);
    assert_eq!(exit, Exit::Code(7));
    for line in [
        "uid=1234(web) gid=1235(web) groups=40(logs),1235(web)",
        "/srv/new",
        "zero /srv/web box blue",
        "reopened",
        "SigBlk:\t0000000000000000",
        "SigIgn:\t0000000000000000",
        "1024",
        "524288",
    ] {
        assert!(
            console.lines().any(|seen| seen == line),
            "no {line:?}:\n{console}"
        );
    }
}

#[test]
fn what_cannot_start_says_why_and_the_machine_goes_off() {
    let cases: [(&[&str], &str, &str); 4] = [
        (
            &["no-such-program"],
            "",
            "there is no program `no-such-program` in PATH=",
        ),
        (&["/etc/passwd"], "", "`/etc/passwd` is not an executable file"),
        (
            &["/root/script"],
            "",
            "the interpreter or loader that it names is not in the image",
        ),
        (&["sh"], "nobody-knows", "the image has no user \"nobody-knows\""),
    ];
    for (argv, user, why) in cases {
        let sandbox = Sandbox::new();
        let script = sandbox.path().join("script");
        std::fs::write(&script, "#!/no/such/shell\n").unwrap();
        let write = format!("write {} root/script", script.display());
        let image = image(&sandbox, &[&write, "sif root/script mode 0100755"]);
        let mut plan = Plan::disk(image, false, "unused");
        plan.entrypoint().argv = argv.iter().map(|word| (*word).into()).collect();
        plan.entrypoint().user = user.into();
        let (exit, console) = run(&sandbox, &plan);
        assert!(
            matches!(&exit, Exit::NotStarted(text) if text.contains(why)),
            "{exit:?}"
        );
        assert!(console.contains("powerunit: failed: entrypoint: "), "{console}");
    }
}

#[test]
fn it_is_asked_by_its_own_signal_and_its_exit_code_counts() {
    let sandbox = Sandbox::new();
    let script = "trap 'echo asked; exit 5' USR1; kill -PWR 1; while :; do sleep 1; done";
    let mut plan = Plan::overlay(&sandbox, script);
    plan.entrypoint().stop_signal = "SIGUSR1".into();
    let (exit, console) = run(&sandbox, &plan);
    assert_eq!(exit, Exit::Code(5));
    assert!(console.contains("asked\n"), "{console}");
}

#[test]
fn one_that_does_not_hear_is_killed_after_its_grace() {
    let sandbox = Sandbox::new();
    let mut plan = Plan::overlay(&sandbox, "trap '' TERM; kill -TERM 1; while :; do sleep 1; done");
    plan.config.stop_grace_ms = 200;
    assert_eq!(run(&sandbox, &plan).0, Exit::Signal(9));
}

#[test]
fn orphans_are_reaped_and_stragglers_ended() {
    let sandbox = Sandbox::new();
    let script = "for i in 1 2 3; do (true &); done; (trap '' TERM; exec sleep 1000) & \
                  while grep -q ') Z ' /proc/[0-9]*/stat 2>/dev/null; do :; done; echo all reaped";
    let (exit, console) = run(&sandbox, &Plan::overlay(&sandbox, script));
    assert_eq!(exit, Exit::Code(0));
    assert!(console.contains("all reaped\n"), "{console}");
}

/// An image as s6-overlay's: its `/init` is no init of a machine, and refuses to be any process but the first.
#[test]
fn an_init_for_containers_is_the_first_process_of_its_own() {
    let sandbox = Sandbox::new();
    let init = sandbox.path().join("init");
    let script = "#!/bin/sh\n[ $$ = 1 ] || { echo 'can only run as pid 1'; exit 100; }\n\
        [ \"$1\" = once ] && { echo \"one more, $(cat /proc/1/comm)\"; sleep 1000 & exit 3; }\n\
        trap 'echo asked; exit 5' TERM\n\
        echo \"comm $(cat /proc/1/comm), $(grep -l powerunit /proc/[0-9]*/comm | wc -l) of others, with $*\"\n\
        mkdir /mnt/own && mount -t tmpfs own /mnt/own && touch /mnt/own/file\n\
        echo kept > /row; echo up; while :; do sleep 1; done\n";
    std::fs::write(&init, script).unwrap();
    let write = format!("write {} init", init.display());
    let base = image(
        &sandbox,
        &[
            &write,
            "sif init mode 0100755",
            "mkdir etc/s6-overlay",
            "mkdir mnt",
        ],
    );
    let mut plan = with_key(Plan::overlay(&sandbox, "unused"));
    plan.disks[0].0 = base;
    plan.config.init = Init::Auto;
    plan.entrypoint().argv = ["/init", "an", "argument"].map(Into::into).into();
    let mut guest = Guest::start(&sandbox, &plan);
    assert_eq!(guest.ready().init, Init::Powerunit);
    guest.console_when("up\n");
    let door = Door::open(guest.folder());
    // Who logs in is outside, and sees what it mounts.
    assert!(
        door.run("[ $(cat /proc/1/comm) = init ] && [ $$ != 1 ] && [ -e /mnt/own/file ]")
            .status
            .success()
    );
    let status = door.status();
    assert!(status.entrypoint_running && status.entrypoint_exit.is_none());
    // As `knaller run` starts it; and one that ends takes all its processes with it.
    let exec = guest_protocol::exec::Exec {
        argv: ["/init", "once"].map(Into::into).into(),
        ..Default::default()
    };
    let ran = door.exec(&exec);
    assert_eq!(
        (ran.status.code(), ran.stdout.as_slice()),
        (Some(3), &b"one more, init\n"[..])
    );
    let left = door.run("ps | grep 'sleep 100[0]'");
    assert_eq!(
        left.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&left.stdout)
    );
    guest.ctrl_alt_del();
    assert_eq!(guest.exited(), Exit::Code(5));
    let console = guest.off();
    assert!(
        console.contains("comm init, 0 of others, with an argument\nup\nasked\n"),
        "{console}"
    );
    let upper = &plan.disks[1].0;
    assert!(journal_is_closed(upper));
    assert_eq!(debugfs(upper, &["cat upper/row"]).lines().last(), Some("kept"));
}
