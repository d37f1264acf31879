//! Conditions in the place of names, wherever there are several things.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::World;

#[test]
fn filters_choose_what_is_listed_and_what_is_done() {
    let world = World::new();
    let _ = world.ok(&["template", "make", "--memory", "128M", "--network", "none"]);
    let quiet = ["--network", "none"];
    world.start(
        "web",
        &[&quiet[..], &["--label", "tier=front", "-V", "data:/srv/data"]].concat(),
    );
    world.start("db", &[&quiet[..], &["--label", "tier=back"]].concat());
    assert_eq!(world.inspect("db")["warm"], true);
    let _ = world.ok(&["volume", "create", "spare", "--size", "64M"]);
    let _ = world.ok(&["snapshot", "create", "db", "--name", "kept"]);
    let names = |words: &[&str]| {
        let told = world.ok(&[words, &["-o", "name"]].concat());
        told.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&["ls", "--filter", "label=tier=front"]), ["web"]);
    assert_eq!(
        names(&["stats", "--no-stream", "--filter", "label=tier=back"]),
        ["db"]
    );
    assert_eq!(
        names(&["snapshot", "ls", "--filter", "label=tier=back"]),
        ["kept"]
    );
    assert!(names(&["snapshot", "ls", "--filter", "label=tier=front"]).is_empty());
    assert_eq!(names(&["volume", "ls", "--filter", "state=unused"]), ["spare"]);
    assert_eq!(
        names(&["volume", "ls", "--filter", "name=dat", "--filter", "state=used"]),
        ["data"]
    );
    // That with a volume is of another shape.
    assert_eq!(names(&["template", "ls", "--filter", "state=fresh"]).len(), 2);
    assert!(names(&["template", "ls", "--filter", "vmm=firecracker"]).is_empty());
    let kernels = names(&["kernel", "ls", "--filter", "state=used"]);
    assert_eq!(kernels.len(), 1);
    assert!(names(&["kernel", "ls", "--filter", "name=no such"]).is_empty());
    world
        .run(&["volume", "ls", "--filter", "label=x"])
        .fails(2, &["these have no label"]);

    let mut events = world.spawn(&["events", "--filter", "label=tier=back"]);
    // Whoever does not hear of the one hears of the other first.
    let _ = world.ok(&["pause", "--filter", "label=tier=front"]);
    let _ = world.ok(&["pause", "--filter", "label=tier=back"]);
    let line = events.line("paused");
    assert!(line.contains(" db paused"), "{line}");
    let _ = world.ok(&["rm", "--force", "--filter", "label=tier=back"]);
    // One that is gone is still known for what it was.
    events.line(" db removed");
    events.signal(Signal::INT);
    let (_, said) = events.end();
    assert!(!said.contains(" web "), "{said}");
    let _ = world.ok(&["kill", "--filter", "name=we"]);
    assert_eq!(world.ok(&["ls", "-o", "name"]), "web\n");
    let _ = world.ok(&["rm", "--filter", "state=stopped"]);
    assert_eq!(world.ok(&["ls", "-o", "name"]), "");
    let _ = world.ok(&["snapshot", "rm", "kept"]);
    assert!(names(&["kernel", "ls", "--filter", "state=used"]).is_empty());

    // What is pruned is chosen too.
    let prune = [
        "system",
        "prune",
        "--all",
        "--volumes",
        "--force",
        "-o",
        "json",
        "--filter",
    ];
    let pruned = |filter: &str| -> Value {
        serde_json::from_str(&world.ok(&[&prune[..], &[filter]].concat())).unwrap()
    };
    let none = pruned("label=tier");
    assert_eq!((&none["templates"], &none["volumes"]), (&json!(0), &json!([])));
    world.import_base();
    let _ = world.ok(&["image", "prune", "--all", "--filter", "label=tier"]);
    assert_eq!(names(&["image", "ls"]), ["base:latest"]);
    let gone: Value =
        serde_json::from_str(&world.ok(&["image", "prune", "--all", "--filter", "name=bas", "-o", "json"]))
            .unwrap();
    assert_eq!(gone["images"][0]["names"], json!(["base:latest"]));
    assert_eq!(
        (gone["images"].as_array().unwrap().len(), &gone["dry_run"]),
        (1, &json!(false))
    );
    assert!(names(&["image", "ls"]).is_empty());
    assert_eq!(pruned("name=spa")["volumes"], json!(["spare"]));
    assert_eq!(names(&["volume", "ls"]), ["data"]);
    let _ = world.ok(&["template", "prune", "--all", "--filter", "vmm=firecracker"]);
    assert_eq!(names(&["template", "ls"]).len(), 2);
    let gone: Value = serde_json::from_str(&world.ok(&[
        "template",
        "prune",
        "--all",
        "--filter",
        "vmm=sparkler",
        "-o",
        "json",
    ]))
    .unwrap();
    assert_eq!(gone["templates"], 2);
    assert!(names(&["template", "ls"]).is_empty());
}

#[test]
fn what_was_done_to_several_is_told_to_programs() {
    let world = World::new();
    for name in ["a", "b"] {
        world.start(name, &["--network", "none"]);
    }
    let told = |words: &[&str]| -> Value {
        let run = world.run(&[words, &["-o", "json"]].concat());
        serde_json::from_str(&run.stdout).unwrap()
    };
    let expected = json!([{ "name": "a", "done": "paused" }, { "name": "b", "done": "paused" }]);
    assert_eq!(told(&["pause", "--all"]), expected);
    assert_eq!(
        told(&["resume", "a"]),
        json!([{ "name": "a", "done": "resumed" }])
    );
    // Of all, or of those that a filter means, those are meant that are not so already.
    let one = |name: &str, done: &str| json!([{ "name": name, "done": done }]);
    assert_eq!(told(&["pause", "--all"]), one("a", "paused"));
    assert_eq!(told(&["resume", "b"]), one("b", "resumed"));
    assert_eq!(told(&["resume", "--all"]), one("a", "resumed"));
    assert_eq!(told(&["resume", "--filter", "name=b"]), json!([]));
    let _ = world.ok(&["pause", "b"]);
    assert_eq!(told(&["pause", "--filter", "name=b"]), json!([]));
    assert_eq!(told(&["pause", "--all"]), one("a", "paused"));
    let _ = world.ok(&["pause", "--all"]);
    let _ = world.ok(&["resume", "--all"]);
    let _ = world.ok(&["resume", "--all"]);
    world.run(&["resume", "a"]).fails(4, &["a is not paused"]);
    let _ = world.ok(&["pause", "b"]);
    let label = told(&["update", "a", "--label", "tier=front"]);
    assert_eq!(label[0]["now"], json!(["labels"]));
    let kept = told(&["snapshot", "create", "a", "--name", "s"]);
    assert_eq!((&kept["name"], &kept["machine"]), (&json!("s"), &json!("a")));
    let stopped = json!([{ "name": "a", "done": "stopped", "how": "orderly" }]);
    assert_eq!(told(&["stop", "a"]), stopped);
    let restarted = told(&["restart", "a"]);
    assert!(restarted[0]["timings"]["total_us"].as_u64().unwrap() > 0);
    let renamed = json!([{ "name": "a", "done": "renamed", "to": "c" }]);
    assert_eq!(told(&["rename", "a", "c"]), renamed);
    assert_eq!(told(&["kill", "c"]), json!([{ "name": "c", "done": "killed" }]));

    // One that fails is told here and there, and the exit code is its.
    let run = world.run(&["rm", "b", "c", "-o", "json"]);
    let outcomes: Value = serde_json::from_str(&run.stdout).unwrap();
    run.fails(4, &["b is running"]);
    assert_eq!(outcomes[0]["exit_code"], 4);
    assert!(outcomes[0]["error"].as_str().unwrap().contains("b is running"));
    assert_eq!(outcomes[1], json!({ "name": "c", "done": "removed" }));
    assert_eq!(
        world.ok(&["rm", "--force", "b", "-o", "name"]),
        "b
"
    );
    // Of what is no machine too, one after the other.
    let removed = json!([{ "name": "s", "done": "removed", "snapshots": ["s"] }]);
    assert_eq!(told(&["snapshot", "rm", "s"]), removed);
    let made = told(&["volume", "create", "v", "--size", "64M"]);
    assert_eq!(
        (&made[0]["name"], &made[0]["done"]),
        (&json!("v"), &json!("created"))
    );
    assert!(made[0]["path"].as_str().unwrap().ends_with("/v.ext4"), "{made}");
    let run = world.run(&["volume", "rm", "nothing", "v", "-o", "json"]);
    let outcomes: Value = serde_json::from_str(&run.stdout).unwrap();
    run.fails(3, &["there is no volume named nothing"]);
    assert_eq!(outcomes[0]["exit_code"], 3);
    assert_eq!(outcomes[1], json!({ "name": "v", "done": "removed" }));
    let template = world.ok(&["template", "ls", "-o", "name"]);
    let removed = told(&["template", "rm", &template[..8]]);
    assert_eq!(removed[0]["key"], template.trim());
    world.import_base();
    let tagged = told(&["image", "tag", "base", "other"]);
    assert_eq!(
        (&tagged[0]["name"], &tagged[0]["done"]),
        (&json!("other:latest"), &json!("tagged"))
    );
    let _ = world.ok(&["image", "rm", "other"]);
    let removed = told(&["image", "rm", "base"]);
    assert_eq!(
        (
            &removed[0]["names"],
            removed[0]["images"].as_array().unwrap().len()
        ),
        (&json!(["base:latest"]), 1)
    );
    let kernel = world.ok(&["kernel", "ls", "-o", "name"]);
    let removed = told(&["kernel", "rm", kernel.trim()]);
    assert_eq!(removed[0]["id"], kernel.trim());
    world.sandbox.assert_clean();
}
