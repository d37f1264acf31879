//! Services over Debian: each runs as its image says, and is reached from the host.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use testkit::images::Image;

use super::{page, start, wait_for, world_with};
use crate::world::{World, host_port, http_get};
use testkit::PATIENCE;

#[test]
fn a_python_program_runs_as_its_image_says() {
    let Some(world) = world_with(Image::Python, "a_python_program_runs_as_its_image_says") else {
        return;
    };
    let machine = start(&world, "app", Image::Python, "128M", &["-P"]);
    assert_eq!(machine["forwards"][0]["guest_port"], 8000);
    wait_for(&world, "app", "listening on 8000");
    assert_eq!(
        page(&machine, 0, "/"),
        "user=app\ngroups=1500,1600\nfolder=/app\ngreeting=good morning\narguments=serve\n"
    );
    assert_eq!(world.shell("app", "echo $GREETING"), "good morning\n");
    checked(&world, "app");
    world.stop_and_remove("app");
    // Words in the command's place reach the entrypoint, and a variable of the caller's wins.
    let words = ["-P", "--env", "GREETING=hi", "--", "one", "two words"];
    let machine = start(&world, "app", Image::Python, "128M", &words);
    wait_for(&world, "app", "listening on 8000");
    let said = page(&machine, 0, "/");
    assert!(said.ends_with("greeting=hi\narguments=one two words\n"), "{said}");
    world.stop_and_remove("app");
}

/// Waits for the verdict of the check that the image brings.
#[track_caller]
fn checked(world: &World, name: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let health = &world.inspect(name)["health"];
        if health["state"] == "healthy" {
            break;
        }
        assert!(
            health["state"] == "starting" && Instant::now() < until,
            "{health}"
        );
    }
    let list = world.ok(&["list"]);
    assert!(list.contains("(healthy)"), "{list}");
}

#[test]
fn a_node_program_finds_its_packages() {
    let Some(world) = world_with(Image::Node, "a_node_program_finds_its_packages") else {
        return;
    };
    let machine = start(&world, "board", Image::Node, "320M", &["-p", "127.0.0.1:0:3000"]);
    wait_for(&world, "board", "listening on 3000");
    let answer = page(&machine, 0, "/laps/ann");
    assert_eq!(answer, r#"{"driver":"ann","mode":"production","uid":1000}"#);
    assert_eq!(page(&machine, 0, "/"), "<h1>pit board</h1>\n");
    let waiting = world.spawn(&["wait", "board"]);
    let _ = world.ok(&["stop", "board"]);
    let (code, said) = waiting.end();
    assert_eq!(code, 0, "it ends by itself when it is asked to: {said}");
    let _ = world.ok(&["rm", "board"]);
    world.sandbox.assert_clean();
}

#[test]
fn nginx_is_reached_by_a_named_port_and_by_all_that_are_exposed() {
    let test = "nginx_is_reached_by_a_named_port_and_by_all_that_are_exposed";
    let Some(world) = world_with(Image::Nginx, test) else {
        return;
    };
    let named = start(&world, "named", Image::Nginx, "128M", &["-p", "127.0.0.1:0:80"]);
    let exposed = start(&world, "exposed", Image::Nginx, "128M", &["--publish-all"]);
    for (name, machine) in [("named", &named), ("exposed", &exposed)] {
        assert_eq!(machine["forwards"][0]["guest_port"], 80);
        world.shell(name, "until [ -s /run/nginx.pid ]; do sleep 0.1; done");
        assert_eq!(page(machine, 0, "/"), "<h1>nginx in a microVM</h1>\n");
    }
    wait_for(&world, "named", "\"GET / HTTP/1.0\" 200");

    // What is exposed is no more at once, and again from the next start.
    let told = world.run(&["update", "exposed", "--no-publish"]);
    assert!(told.stderr.contains("port forwards changed"), "{told}");
    assert_eq!(world.inspect("exposed")["forwards"], serde_json::json!([]));
    let told = world.run(&["update", "exposed", "-P"]);
    let later = "publishing of the image's ports from the next start";
    assert!(told.stderr.contains(later), "{told}");
    let before = SocketAddr::from((Ipv4Addr::LOCALHOST, host_port(&exposed, 0)));
    assert!(!http_get(before, "/").is_ok_and(|answer| answer.contains("nginx")));
    let _ = world.ok(&["restart", "exposed"]);
    world.shell("exposed", "until [ -s /run/nginx.pid ]; do sleep 0.1; done");
    assert_eq!(
        page(&world.inspect("exposed"), 0, "/"),
        "<h1>nginx in a microVM</h1>\n"
    );
    let _ = world.ok(&["rm", "--force", "named", "exposed"]);
    world.sandbox.assert_clean();
}

#[test]
fn postgresql_keeps_its_rows_over_a_stop_and_a_start() {
    let test = "postgresql_keeps_its_rows_over_a_stop_and_a_start";
    let Some(world) = world_with(Image::Postgres, test) else {
        return;
    };
    let sql = |line: &str| world.ok(&["exec", "db", "psql", "-U", "postgres", "-Atc", line]);
    start(&world, "db", Image::Postgres, "256M", &[]);
    wait_for(&world, "db", "database system is ready to accept connections");
    sql(
        "CREATE TABLE laps (driver text, seconds numeric); INSERT INTO laps VALUES ('ann', 71.5), ('bo', 72)",
    );
    assert_eq!(
        world.shell("db", "stat -c %U:%a /var/lib/postgresql/data"),
        "postgres:700\n"
    );
    let _ = world.ok(&["stop", "db"]);
    let logs = world.ok(&["logs", "db"]);
    // SIGINT, the image's stop signal, is PostgreSQL's fast shutdown.
    assert!(
        logs.contains("received fast shutdown request") && logs.contains("database system is shut down"),
        "{logs}"
    );
    let _ = world.ok(&["start", "db", "--detach"]);
    world.shell("db", "until pg_isready --quiet; do sleep 0.1; done");
    assert_eq!(
        sql("SELECT driver, seconds FROM laps ORDER BY driver"),
        "ann|71.5\nbo|72\n"
    );
    world.stop_and_remove("db");
}
