//! Machines that are kept by a supervisor, ours or systemd.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::world::{Running, World};

#[test]
fn a_supervisor_that_is_killed_goes_on_where_it_was() {
    let world = World::new();
    let words = [
        "start",
        "web",
        "--detach",
        "-m",
        "128M",
        "--network",
        "none",
        "--restart",
        "always",
    ];
    let ran = world.run(&words);
    assert_eq!(ran.code(), 0, "{ran}");
    for text in [
        "nobody starts web again yet",
        "knaller supervise",
        "knaller generate systemd web",
    ] {
        assert!(ran.stderr.contains(text), "{ran}");
    }
    let pid = |world: &World| world.inspect("web")["pid"].as_i64().unwrap();

    let mut first = world.spawn(&["supervise"]);
    first.line("web is watched");
    let vmm = pid(&world);
    kill(vmm);
    first.line("web has ended (ended without a word)");
    first.line("web was restarted for the first time");
    first.line("web is watched");
    let after = world.inspect("web");
    assert_eq!(
        (&after["restarts"], &after["restart"]),
        (&1.into(), &"always".into())
    );
    assert!(world.ok(&["inspect", "web"]).contains("always, once so far"));

    // While there is none, nobody starts it; the next one does.
    first.signal(Signal::KILL);
    assert_eq!(first.end().0, -1);
    assert_eq!(world.inspect("web")["state"], "running");
    kill(pid(&world));
    assert_eq!(world.run(&["wait", "web"]).code(), 9);
    let mut second = world.spawn(&["supervise", "--output", "json"]);
    let line = second.line("\"restarted\"");
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&told["name"], &told["restarts"]),
        (&"web".into(), &2.into()),
        "{line}"
    );
    second.line("\"adopted\"");

    // A machine that is started while it watches is its as well, and there is nothing to warn of.
    let ran = world.run(&[
        "start",
        "job",
        "--detach",
        "-m",
        "128M",
        "--network",
        "none",
        "--restart",
        "on-failure:1",
        "--",
        "sh",
        "-c",
        "exit 3",
    ]);
    assert_eq!(ran.code(), 0, "{ran}");
    assert!(!ran.stderr.contains("nobody starts"), "{ran}");
    let line = second.line("\"resting\"");
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["name"], "job", "{line}");
    assert_eq!(world.inspect("job")["restarts"], 1);

    // What its user has stopped stays so.
    let _ = world.ok(&["stop", "web"]);
    second.line("stopped on purpose");
    second.signal(Signal::INT);
    assert_eq!(second.end().0, 0);
    assert_eq!(world.inspect("web")["state"], "stopped");
    let _ = world.ok(&["rm", "web", "job"]);
    world
        .run(&["supervise", "web"])
        .fails(3, &["there is no machine named web"]);
    world
        .run(&["start", "--rm", "--restart", "always"])
        .fails(2, &["--restart"]);
}

#[test]
fn a_machine_that_ends_again_and_again_is_stopped_between_its_starts() {
    let world = World::new();
    let mut supervisor = world.spawn(&["supervise"]);
    let words = ["-m", "128M", "--network", "none", "--restart", "always", "-d"];
    for (name, command) in [("one", "stop"), ("two", "kill")] {
        let start = [&["start", name], &words[..], &["--", "sh", "-c", "exit 1"]].concat();
        let _ = world.ok(&start);
        supervisor.line(&format!("{name} starts again in 1.6"));
        // It does not come to that before the command, however long this takes.
        supervisor.signal(Signal::STOP);
        let ran = world.run(&[command, name]);
        let told = format!("{name} had ended, and is not started again");
        assert!(ran.code() == 0 && ran.stderr.contains(&told), "{ran}");
        supervisor.signal(Signal::CONT);
        supervisor.line(&format!("{name} stays stopped: it was stopped on purpose"));
        assert_eq!(world.inspect(name)["state"], "stopped");
        world
            .run(&[command, name])
            .fails(4, &[&format!("{name} is not running")]);
    }
    supervisor.signal(Signal::INT);
    assert_eq!(supervisor.end().0, 0);
    let _ = world.ok(&["rm", "one", "two"]);
}

fn kill(pid: i64) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn the_units_are_what_systemd_takes_and_do_what_they_say() {
    let world = World::new();
    let words = ["--network", "none", "--restart", "on-failure:3"];
    world.start("web", &words);
    let _ = world.ok(&["stop", "web"]);
    for (words, file) in [
        (&["generate", "systemd", "web"][..], "knaller-web.service"),
        (&["generate", "systemd"], "knaller.service"),
    ] {
        let text = world.ok(words);
        assert!(text.contains("[Service]") && text.contains("[Install]"), "{text}");
        let path = world.file(file, &text);
        if testkit::have("systemd-analyze") {
            let mut verify = world.sandbox.command("systemd-analyze");
            // Man pages of a knaller that is not installed are not there.
            let ran = testkit::run(verify.args(["verify", "--user", "--man=no"]).arg(&path));
            assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{ran}");
        }
    }
    // Its own lines, as systemd would run them.
    let mut generate = world.command(&["generate", "systemd", "web"]);
    generate
        .env("KNALLER_LOG", "info")
        .env("KNALLER_CGROUP", "/a \"$x\" 100%")
        .env("KNALLER_POOL", "10.99.0.0/16")
        .env("HTTPS_PROXY", "http://user:secret@proxy:3128");
    let text = testkit::run(&mut generate).ok();
    for line in [
        r#"Environment="KNALLER_LOG=info""#,
        r#"Environment="KNALLER_CGROUP=/a \"$x\" 100%%""#,
        r#"Environment="KNALLER_POOL=10.99.0.0/16""#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    assert!(
        text.contains("KNALLER_DATA=") && !text.contains("secret"),
        "{text}"
    );
    let text = world.ok(&["generate", "systemd", "web"]);
    let lines = |key: &str| -> Vec<String> {
        let values = text
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.map(str::to_owned).collect()
    };
    assert_eq!(lines("Restart"), ["on-failure"]);
    assert_eq!(lines("StartLimitBurst"), ["4"]);
    let environment = lines("Environment").join(" ");
    let run = |line: &str| {
        let script = format!("exec env -i {environment} {line}");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .env("PITWALL_SANDBOX", world.sandbox.path());
        command
    };
    let mut service = Running::new(&mut run(&lines("ExecStart")[0]));
    service.line("web is up");
    assert_eq!(world.inspect("web")["state"], "running");
    let stopped = testkit::run(&mut run(&lines("ExecStop")[0]));
    assert_eq!(stopped.code(), 0, "{stopped}");
    assert_eq!(service.end().0, 0);
    // One that runs already is the unit's from then on: it is not started anew, and stops with it.
    let _ = world.ok(&["start", "web", "--detach"]);
    let instance = world.inspect("web")["instance"].clone();
    let mut service = Running::new(&mut run(&lines("ExecStart")[0]));
    service.line("web runs already");
    assert_eq!(world.inspect("web")["instance"], instance);
    let _ = world.ok(&["start", "web", "--adopt", "--detach"]);
    world
        .run(&["start", "web", "--adopt", "--memory", "1G"])
        .fails(2, &["takes its name alone"]);
    let stopped = testkit::run(&mut run(&lines("ExecStop")[0]));
    assert_eq!(stopped.code(), 0, "{stopped}");
    assert_eq!(service.end().0, 0);
    assert_eq!(world.inspect("web")["state"], "stopped");
    let _ = world.ok(&["rm", "web"]);
    world
        .run(&["generate", "systemd", "web"])
        .fails(3, &["there is no machine named web"]);
}
