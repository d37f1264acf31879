//! What knaller takes of a host, and how it is free again.

use rustix::process::Signal;
use serde_json::Value;
use testkit::Terminal;

use crate::world::World;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What `system df` says of one kind of thing.
fn usage(world: &World, kind: &str, more: &[&str]) -> Value {
    let told = json(&world.ok(&[&["system", "df", "-o", "json"], more].concat()));
    let found = told.as_array().unwrap().iter().find(|one| one["kind"] == kind);
    found.unwrap().clone()
}

#[test]
fn what_a_killed_command_left_is_told() {
    let world = World::new();
    assert_eq!(
        json(&world.ok(&["prune", "-o", "json"])),
        Value::Array(Vec::new())
    );
    let ran = world.run(&["prune"]);
    assert!(ran.stderr.contains("Everything is in order."), "{ran}");
    let mut start = world.spawn(&[
        "start",
        "half",
        "-d",
        "-m",
        "128M",
        "--network",
        "none",
        "--log",
        "knaller=debug",
    ]);
    start.line("\"spawn\"");
    start.signal(Signal::KILL);
    let _ = start.end();
    // A process that was forked and has not become the VMM yet shares the claim of the killed one for a moment.
    let told = loop {
        let told = json(&world.ok(&["prune", "-o", "json"]));
        if told != Value::Array(Vec::new()) {
            break told;
        }
    };
    assert_eq!(
        (&told[0]["kind"], &told[0]["name"]),
        (&"never_started".into(), &"half".into()),
        "{told}"
    );
    let sentence = told[0]["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("the first start of half was killed"),
        "{sentence}"
    );
    world.sandbox.assert_clean();

    // A machine that died while nobody looked.
    world.start("web", &["--network", "none"]);
    for process in world.sandbox.processes() {
        process.kill();
    }
    while !world.sandbox.processes().is_empty() {
        std::thread::yield_now();
    }
    let told = world.ok(&["prune"]);
    assert!(told.contains("web has ended: its sockets are removed"), "{told}");
    let _ = world.ok(&["rm", "web"]);
}

#[test]
fn disk_space_is_counted_and_freed() {
    let world = World::new();
    let data = world.file("data.txt", vec![7; 2 << 20]);
    world.start("web", &["--network", "none", "-V", "kept:/srv/kept"]);
    let _ = world.ok(&["volume", "create", "spare", "--size", "64M"]);
    let _ = world.ok(&["cp", data.to_str().unwrap(), "web:/srv/kept/"]);
    world.shell("web", "sync");
    let machines = usage(&world, "machines", &[]);
    assert_eq!((&machines["count"], &machines["used"]), (&1.into(), &1.into()));
    let volumes = usage(&world, "volumes", &[]);
    assert_eq!((&volumes["count"], &volumes["used"]), (&2.into(), &1.into()));
    let (size, free) = (
        volumes["size"].as_u64().unwrap(),
        volumes["reclaimable"].as_u64().unwrap(),
    );
    // Room for 8 GiB, of which the disk has what was written.
    assert!(
        (2 << 20..1 << 30).contains(&size) && free > 0 && size - free >= 2 << 20,
        "{volumes}"
    );
    assert!(usage(&world, "kernels", &[])["size"].as_u64().unwrap() > 1 << 20);
    // The template of this boot still serves; only --all takes it.
    assert_eq!(usage(&world, "templates", &[])["reclaimable"], 0);
    let template = usage(&world, "templates", &["--all"]);
    assert!(template["reclaimable"].as_u64().unwrap() > 1 << 20, "{template}");
    let table = world.ok(&["system", "df"]);
    assert!(
        table.starts_with("KIND") && table.contains("templates"),
        "{table}"
    );

    // Nobody is there to be asked.
    world
        .run(&["system", "prune", "--all", "--volumes"])
        .fails(2, &["nobody can be asked", "--force"]);
    let mut terminal = Terminal::new(80);
    let mut asked = terminal.spawn(&mut world.command(&["system", "prune"]));
    terminal.wait_for("[y/N] ");
    terminal.press("\r");
    terminal.wait_for("nothing is removed");
    assert!(asked.wait().unwrap().success());
    let mut terminal = Terminal::new(80);
    let mut asked = terminal.spawn(&mut world.command(&["system", "prune", "--all", "--volumes"]));
    terminal.wait_for("[y/N] ");
    terminal.press("y\r");
    terminal.wait_for("spare removed");
    terminal.wait_for("free again");
    assert!(asked.wait().unwrap().success());
    assert_eq!(usage(&world, "templates", &["--all"])["count"], 0);
    // What a machine has stays, and the machine with it.
    assert_eq!(world.ok(&["volume", "ls", "-o", "name"]), "kept\n");
    assert_eq!(world.shell("web", "wc -c < /srv/kept/data.txt"), "2097152\n");
    let told = json(&world.ok(&["system", "prune", "--force", "-o", "json"]));
    assert_eq!(
        (&told["images"], &told["templates"]),
        (&0.into(), &0.into()),
        "{told}"
    );

    // Nothing lies where it is not counted.
    let folders = std::fs::read_dir(world.sandbox.data().join("knaller")).unwrap();
    for folder in folders {
        let counted = ["vms", "images", "kernels", "templates", "snapshots", "volumes"];
        let folder = folder.unwrap().file_name();
        assert!(counted.iter().any(|name| folder == *name), "{folder:?}");
    }

    let about = json(&world.ok(&["system", "info", "-o", "json"]));
    assert_eq!(
        about["data"].as_str(),
        world.sandbox.data().join("knaller").to_str()
    );
    let programs = about["programs"].as_array().unwrap();
    let sparkler = programs
        .iter()
        .find(|program| program["name"] == "sparkler")
        .unwrap();
    let version = sparkler["version"].as_str().unwrap();
    assert!(version.contains(char::is_numeric), "{version}");
    let table = world.ok(&["system", "info"]);
    for word in ["guest protocol", "accelerator", "runtime", "image limits"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    world.stop_and_remove("web");
}
