//! The program that the VM exists for: as whom it runs, how it ends, and why it does not start.

use guest_protocol::Exit;
use testkit::Sandbox;

use crate::guest::{Guest, Plan, image};

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
