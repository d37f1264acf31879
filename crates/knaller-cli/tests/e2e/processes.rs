//! What runs inside machines, told by their init.

use rustix::process::Signal;
use serde_json::Value;
use testkit::Terminal;

use crate::world::World;

fn processes(world: &World, name: &str) -> Vec<Value> {
    let told = world.ok(&["ps", name, "-o", "json"]);
    serde_json::from_str::<Value>(&told)
        .unwrap()
        .as_array()
        .unwrap()
        .clone()
}

#[test]
fn processes_are_told_whatever_the_image_has() {
    let world = World::new();
    let server = [
        "--network",
        "none",
        "--",
        "httpd",
        "-f",
        "-u",
        "user",
        "-p",
        "80",
        "-h",
        "/srv/www",
    ];
    world.start("web", &server);
    let told = processes(&world, "web");
    assert_eq!((&told[0]["pid"], &told[0]["parent"]), (&1.into(), &0.into()));
    let httpd = told
        .iter()
        .find(|process| process["command"].as_str().unwrap().starts_with("httpd -f"))
        .unwrap();
    assert_eq!(httpd["command"], "httpd -f -u user -p 80 -h /srv/www");
    assert_eq!((&httpd["user"], &httpd["parent"]), (&"user".into(), &1.into()));
    assert!(
        httpd["memory_kib"].as_u64().unwrap() > 0 && httpd["started_us"].as_u64().unwrap() > 0,
        "{httpd}"
    );
    let table = world.ok(&["ps", "web"]);
    assert!(
        table.starts_with("PID") && table.contains("httpd -f -u user"),
        "{table}"
    );
    // No thread of the kernel's own.
    assert!(
        !table.contains("kworker") && !table.contains("kthreadd"),
        "{table}"
    );

    // Again and again: in a pipe one below the other, at a terminal in place, which is as before when `q` ends it.
    let mut watching = world.spawn(&["ps", "web", "--watch"]);
    for _ in 0..2 {
        watching.line("PID");
        watching.line("httpd -f -u user");
    }
    watching.signal(Signal::INT);
    assert_eq!(watching.end().0, 130);
    let mut watching = world.spawn(&["top", "web", "--watch", "-o", "json"]);
    let first = watching.line("httpd");
    assert!(
        first.starts_with("[{") && first.contains("\"cpu_percent\":null"),
        "{first}"
    );
    let second = watching.line("\"cpu_percent\":0.0");
    assert!(second.starts_with("[{"), "{second}");
    drop(watching);
    let mut terminal = Terminal::new(100);
    let mut command = world.command(&["ps", "web", "--watch"]);
    command.env("TERM", "xterm");
    let mut watching = terminal.spawn(&mut command);
    terminal.wait_for("httpd -f -u user");
    // Up again, and over it.
    terminal.wait_for("F\x1b[J");
    terminal.wait_for("httpd -f -u user");
    terminal.press("q");
    assert_eq!(testkit::end(&mut watching, "ps --watch").code(), Some(0));
    assert!(terminal.echoes(), "the terminal is as before");

    // More than one answer holds.
    let many = "long=$(printf '%01000d' 7); for i in $(seq 100); do sh -c 'sleep 3600; :' $long > /dev/null 2>&1 < /dev/null & done";
    world.shell("web", many);
    let told = processes(&world, "web");
    let long = |process: &&Value| process["command"].as_str().unwrap().contains("0000000000");
    assert_eq!(told.iter().filter(long).count(), 100);
    let pids: Vec<u64> = told
        .iter()
        .map(|process| process["pid"].as_u64().unwrap())
        .collect();
    assert!(pids.is_sorted_by(|one, next| one < next), "{pids:?}");

    // A machine of nothing but its init.
    world.start("bare", &["--image", "initramfs", "--network", "none"]);
    let told = processes(&world, "bare");
    assert!(
        told.iter().any(|process| process["pid"] == 1) && told.len() < 10,
        "{told:?}"
    );
    let _ = world.ok(&["pause", "bare"]);
    world
        .run(&["ps", "bare"])
        .fails(4, &["bare is paused", "knaller resume bare"]);
    let _ = world.ok(&["rm", "-f", "bare"]);
    world
        .run(&["ps", "bare"])
        .fails(3, &["there is no machine named bare"]);
    let _ = world.ok(&["kill", "web"]);
    world.run(&["ps", "web"]).fails(4, &["web is not running"]);
    let _ = world.ok(&["rm", "web"]);
}
