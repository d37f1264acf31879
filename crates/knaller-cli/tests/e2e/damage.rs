//! A machine that runs and whose record is lost.

use serde_json::Value;

use crate::world::World;

#[test]
fn a_machine_that_runs_without_its_record_is_told_and_ended() {
    let world = World::new();
    let quiet = ["--network", "none"];
    world.start("lost", &quiet);
    world.start("web", &quiet);
    let record = world.sandbox.data().join("knaller/vms/lost/vm.json");
    let whole = std::fs::read(&record).unwrap();
    std::fs::write(&record, &whole[..whole.len() / 2]).unwrap();

    let listed: Value = serde_json::from_str(&world.ok(&["ls", "-o", "json"])).unwrap();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["state"]),
        (&"lost".into(), &"damaged".into())
    );
    assert_eq!(
        (&listed[0]["running"], &listed[1]["state"]),
        (&true.into(), &"running".into())
    );
    assert_eq!(world.ok(&["stats", "--no-stream", "-o", "name"]), "web\n");
    assert_eq!(world.shell("web", "echo up"), "up\n");
    // It is nobody's to end but who names it.
    world.run(&["prune", "--force"]).fails(1, &[]);
    world.run(&["rm", "lost"]).fails(4, &["lost is running"]);
    world
        .run(&["stop", "lost"])
        .fails(1, &["vm.json is damaged", "knaller rm --force lost"]);
    let listed = world.ok(&["ls", "--running", "-o", "name"]);
    assert_eq!(listed, "lost\nweb\n");
    let _ = world.ok(&["rm", "--force", "lost"]);
    world.stop_and_remove("web");
}
