//! Whoever loads a firewall anew takes the table of root's machines away: what is left then, and how it comes back.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::Command;

use serde_json::Value;
use testkit::{is_root, run, skip};

use crate::direct::{PUBLIC, nft, state_of, world_around};
use crate::lan::{HOST, Lan};
use crate::world::{World, host_port};

/// What the guest's SSH server says first to who comes to a port of the host.
fn greeting(lan: &Lan, port: u16) -> String {
    lan.on_host(|| {
        let stream = TcpStream::connect((IpAddr::V4(Ipv4Addr::LOCALHOST), port)).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    })
}

/// The other names of the host's loopback.
fn notes(lan: &Lan) -> String {
    lan.on_host(|| run(Command::new("ip").args(["link", "show", "lo"])).ok())
}

#[test]
fn a_table_that_was_taken_away_comes_back_and_nothing_stays_switched_on() {
    const NAME: &str = "a_table_that_was_taken_away_comes_back_and_nothing_stays_switched_on";
    if !is_root() {
        return skip(NAME, "root, whose mode it is");
    }
    let (lan, served) = world_around();
    let before = (state_of(&lan), notes(&lan));
    let world = World::new().through(lan.words());
    let web = world.start("web", &["--network", "direct", "-p", "0:22"]);
    let reach = || {
        let line = format!("nc -w 2 {} {served} </dev/null || echo unreachable", PUBLIC[0]);
        world.shell("web", &line)
    };
    let healed = || -> Value { serde_json::from_str(&world.ok(&["prune", "-o", "json"])).unwrap() };
    let take_away = || nft(&lan, &["delete", "table", "inet", "knaller"]);
    let doctor = || -> Value {
        let checks: Value = serde_json::from_str(&world.run(&["doctor", "-o", "json"]).stdout).unwrap();
        let checks = checks.as_array().unwrap();
        let direct = checks.iter().find(|check| check["id"] == "network-direct");
        direct.unwrap().clone()
    };
    assert_eq!(doctor()["verdict"], "ok");
    let table = || nft(&lan, &["list", "table", "inet", "knaller"]);
    let whole = table();
    assert_eq!(reach(), format!("{}\n", HOST[0]));

    let _ = take_away();
    assert_eq!(reach(), "unreachable\n");
    let told = doctor();
    assert_eq!(told["verdict"], "warning", "{told}");
    assert!(
        told["remedy"].as_str().unwrap().contains("knaller prune"),
        "{told}"
    );
    assert_eq!(healed()[0]["kind"], "rules");
    assert_eq!(healed(), serde_json::json!([]));
    assert_eq!(table(), whole);
    assert_eq!(reach(), format!("{}\n", HOST[0]));
    assert!(greeting(&lan, host_port(&web, 0)).starts_with("SSH-2.0"));

    // Who needs it makes it, too; and what is of others is made by the next that looks.
    let _ = take_away();
    world.start("other", &["--network", "direct", "-p", "0:22"]);
    assert_eq!(reach(), format!("{}\n", HOST[0]));
    assert_eq!(doctor()["verdict"], "warning");
    assert_eq!(healed()[0]["kind"], "rules");
    assert_eq!(doctor()["verdict"], "ok");
    assert!(greeting(&lan, host_port(&web, 0)).starts_with("SSH-2.0"));
    let _ = take_away();
    let _ = world.ok(&["update", "other", "-p", "0:22", "-p", "0:80"]);
    assert!(greeting(&lan, host_port(&world.inspect("other"), 0)).starts_with("SSH-2.0"));

    let _ = take_away();
    let _ = world.ok(&["rm", "--force", "web", "other"]);
    assert_eq!((state_of(&lan), notes(&lan)), before);
    assert_eq!(healed(), serde_json::json!([]));
    world.sandbox.assert_clean();
}
