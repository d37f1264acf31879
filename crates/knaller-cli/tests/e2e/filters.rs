//! Conditions in the place of names, wherever there are several things.

use rustix::process::Signal;

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
}
