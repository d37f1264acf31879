//! What runs inside machines, told by their init.

use serde_json::Value;

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
