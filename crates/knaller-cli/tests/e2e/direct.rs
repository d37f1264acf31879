//! Root's machine in network mode `direct`, on a host of the test's own: what it reaches and by what it is reached, and what is
//! left of it.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use testkit::{Debian, debian, is_root, run, skip};

use crate::lan::{HOST, Lan};
use crate::network::{FORWARDS, SERVER, ask, ways_in};
use crate::world::{World, host_port};

/// What looks public (RFC 5737, RFC 3849), and answers.
pub(crate) const PUBLIC: [&str; 2] = ["203.0.113.1", "2001:db8:113::1"];

/// What is private in one way or another, and answers too.
const PRIVATE: [&str; 8] = [
    "10.1.2.3",
    "100.64.1.1",
    "169.254.169.254",
    "172.16.9.9",
    "192.168.77.1",
    "198.18.0.9",
    "fd00:ec2::254",
    "fd00:113::1",
];

/// The outside's further addresses: the first of either list is its own.
const MORE: [&str; 8] = [
    "2001:db8:113::1/128",
    "10.1.2.3/32",
    "100.64.1.1/32",
    "169.254.169.254/32",
    "172.16.9.9/32",
    "192.168.77.1/32",
    "198.18.0.9/32",
    "fd00:ec2::254/128",
];

/// Somebody else's rules.
const FOREIGN: &str = "table inet other { chain forward { type filter hook forward priority 0; policy accept; \
                       tcp dport 9 drop; }; set names { type ifname; elements = { \"knaller0\" }; }; }";

/// Asks each HOST for a word on its PORT, all at once: a line for each, with what came.
const CLIENT: &str = "
import socket, sys, threading
def ask(target):
    host, port = target.rsplit('@', 1)
    try:
        with socket.create_connection((host, int(port)), timeout=20) as server:
            print(target, server.recv(2048).decode())
    except OSError as error:
        print(target, 'unreachable')
for target in sys.argv[1:]:
    threading.Thread(target=ask, args=(target,)).start()
";

/// A host with a world around it that serves on one port of all its addresses, which is given too: each client is told
/// who it is.
pub(crate) fn world_around() -> (Lan, u16) {
    let lan = Lan::new();
    lan.world_has(&MORE);
    let listener = lan.outside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let who = client.peer_addr().map(|who| who.ip().to_canonical());
            let _ = client.write_all(format!("{}\n", who.unwrap()).as_bytes());
        }
    });
    (lan, port)
}

/// All that a machine could change of its host's network, in words; without what links do for themselves in their first second.
pub(crate) fn state_of(lan: &Lan) -> String {
    let script = "nft list ruleset; ip -o link | cut -d: -f2; ip -4 route show table all | sort; ip -6 route show table all | grep -v fe80 | sort; \
                  grep -r . /proc/sys/net/ipv4/conf/eth0/forwarding /proc/sys/net/ipv4/ip_forward \
                  /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/eth0/accept_ra";
    lan.on_host(|| run(Command::new("sh").args(["-c", script])).ok())
}

pub(crate) fn nft(lan: &Lan, words: &[&str]) -> String {
    lan.on_host(|| run(Command::new("nft").args(words)).ok())
}

/// What the guest's client gets of each.
fn reached(world: &World, name: &str, targets: &[String]) -> Vec<String> {
    let words: Vec<&str> = targets.iter().map(String::as_str).collect();
    let told = world.ok(&[&["exec", name, "python3", "-c", CLIENT][..], &words].concat());
    let of = |target: &String| {
        let line = told.lines().find_map(|line| line.strip_prefix(target.as_str()));
        line.unwrap_or_else(|| panic!("nothing of {target}: {told}"))
            .trim()
            .to_owned()
    };
    targets.iter().map(of).collect()
}

fn targets(addresses: &[&str], port: u16) -> Vec<String> {
    addresses
        .iter()
        .map(|address| format!("{address}@{port}"))
        .collect()
}

#[test]
fn the_public_is_reached_and_nothing_else() {
    if !is_root() {
        return skip("the_public_is_reached_and_nothing_else", "root, whose mode it is");
    }
    let (lan, served) = world_around();
    let _ = nft(&lan, &[FOREIGN]);
    let before = state_of(&lan);
    let world = World::new().through(lan.words());
    let image = debian(Debian::Minimal);
    let guest = [
        "-d",
        "-m",
        "192M",
        "--network",
        "direct",
        "--rootfs",
        image.to_str().unwrap(),
    ];
    // The links' own addresses are opened by the machine's rules, to see that the host's keep machines apart.
    let open = ["--egress", "allow=10.255.0.0/16", "--egress", "allow=fd6b::/16"];
    let serve = ["--", "python3", "-c", SERVER];
    let _ = world.ok(&[&["start", "web"][..], &guest, &FORWARDS, &open, &serve].concat());
    let _ = world.ok(&[
        &["start", "other"][..],
        &guest,
        &["-p", "0:80", "-p", "0:53/udp"],
        &serve,
    ]
    .concat());
    for name in ["web", "other"] {
        world.spawn(&["logs", "-f", name]).line("the server listens");
    }
    let [web, other] = ["web", "other"].map(|name| world.inspect(name));
    ways_in(&lan, &web);
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for address in loopback {
        lan.on_host(|| ask(address, host_port(&other, 0), host_port(&other, 1)));
    }

    let out = reached(&world, "web", &targets(&PUBLIC, served));
    assert_eq!(
        out,
        HOST.map(|address| address.to_string()),
        "it comes as the host"
    );
    let private = reached(&world, "web", &targets(&PRIVATE, served));
    assert!(
        private.iter().all(|said| said == "unreachable"),
        "{PRIVATE:?}: {private:?}"
    );
    nothing_of_the_host(&world, &lan);
    nothing_of_each_other(&world, &other);

    clashes(&world, host_port(&web, 0));
    let foreign = nft(&lan, &["list", "table", "inet", "other"]);
    assert!(before.contains(&foreign), "{foreign}");
    // Whoever kills the VMM leaves rules that nobody follows, until the next that looks.
    let other_pid = world.inspect("other")["pid"].as_i64().unwrap().to_string();
    let _ = run(Command::new("kill").args(["-9", &other_pid])).ok();
    let waited = world.run(&["wait", "other"]);
    let healed: Value = serde_json::from_str(&world.ok(&["prune", "-o", "json"])).unwrap();
    let boot = other["instance"].as_str().unwrap();
    let table = nft(&lan, &["list", "table", "inet", "knaller"]);
    assert!(!table.contains(boot), "{waited}: {healed}: {table}");
    assert!(table.contains(web["instance"].as_str().unwrap()), "{table}");
    let links = lan.on_host(|| run(Command::new("ip").args(["-o", "link"])).ok());
    assert!(links.contains("knaller0") && !links.contains(boot), "{links}");
    let _ = world.ok(&["rm", "other"]);
    world.stop_and_remove("web");
    assert_eq!(state_of(&lan), before);
}

/// What listens on the host, by whichever address.
fn nothing_of_the_host(world: &World, lan: &Lan) {
    let listeners = lan.on_host(|| {
        let any: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()];
        any.map(|address| TcpListener::bind((address, 0)).unwrap())
    });
    // The host's ends of the links, the guest's gateways, the loopback, its own addresses.
    let links = lan.on_host(|| run(Command::new("ip").args(["-o", "address"])).ok());
    let ends = links.lines().filter(|line| line.contains("knaller"));
    let mut addresses: Vec<String> = ends
        .filter_map(|line| Some(line.split_whitespace().nth(3)?.split('/').next()?.to_owned()))
        .filter(|address| !address.starts_with("fe80"))
        .collect();
    assert_eq!(addresses.len(), 4, "{links}");
    addresses.extend(["127.0.0.1", "::1", "10.255.255.253"].map(str::to_owned));
    addresses.extend(HOST.map(|address| address.to_string()));
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    for listener in listeners {
        let port = listener.local_addr().unwrap().port();
        let said = reached(world, "web", &targets(&addresses, port));
        assert!(
            said.iter().all(|said| said == "unreachable"),
            "{addresses:?}: {said:?}"
        );
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "somebody came to {listener:?}");
    }
}

/// Neither by the other's own address nor by its forwards.
fn nothing_of_each_other(world: &World, other: &Value) {
    let port = host_port(other, 0);
    let own = ["10.255.0.3", "fd6b:6e61:6c6c:6574::3"];
    let forwards: Vec<String> = HOST.map(|address| address.to_string()).to_vec();
    let forwards: Vec<&str> = forwards.iter().map(String::as_str).collect();
    let said = reached(world, "web", &targets(&[&own[..], &forwards].concat(), port));
    assert!(said.iter().all(|said| said == "unreachable"), "{said:?}");
}

/// A port that leads to a machine is taken, though nobody listens there.
fn clashes(world: &World, taken: u16) {
    let port = format!("{taken}:80");
    for network in ["direct", "pasta"] {
        world
            .run(&[
                "start",
                "third",
                "-d",
                "-m",
                "128M",
                "--network",
                network,
                "-p",
                &port,
            ])
            .fails(5, &[&format!("port {taken}"), "is taken by machine web"]);
    }
    world
        .run(&["forward", "web", &port])
        .fails(5, &["is taken by machine web"]);
}

#[test]
fn rules_open_and_close_and_go_with_the_machine() {
    if !is_root() {
        return skip(
            "rules_open_and_close_and_go_with_the_machine",
            "root, whose mode it is",
        );
    }
    let (lan, served) = world_around();
    let before = state_of(&lan);
    let world = World::new();
    // The host knows a name of its own.
    let hosts = world.file("hosts", "127.0.0.1 localhost\n192.168.77.1 service.test\n");
    let script = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let words = [
        &lan.words()[..],
        &["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned),
    ]
    .concat();
    let world = world.through(words);
    half_started(&world, &lan);
    assert_eq!(state_of(&lan), before);

    let service = format!("dns=service.test:{served}");
    let one = format!("allow=10.1.2.3:{served}");
    let rules = ["--egress", "deny", "--egress", &service, "--egress", &one];
    let web = world.start(
        "web",
        &[&["--network", "direct", "-p", "0:80"][..], &rules].concat(),
    );
    let ask = |name: &str, host: &str| {
        world.shell(
            name,
            &format!("nc -w 20 {host} {served} </dev/null || echo unreachable"),
        )
    };
    let as_told = |name: &str| {
        assert_eq!(ask(name, "service.test"), "203.0.113.2\n");
        assert_eq!(ask(name, "10.1.2.3"), "203.0.113.2\n");
        for closed in [PUBLIC[0], "192.168.5.5", "169.254.169.254", PUBLIC[1]] {
            assert_eq!(ask(name, closed), "unreachable\n", "{closed}");
        }
    };
    as_told("web");
    assert!(
        world
            .shell("web", "cat /etc/hosts")
            .contains("192.168.77.1\tservice.test")
    );
    let resolv = world.shell("web", "cat /etc/resolv.conf || true");
    assert!(!resolv.contains("nameserver"), "{resolv}");
    // A fork has a place and a port of its own, and the same rules.
    let _ = world.ok(&["fork", "web", "--name", "twin"]);
    as_told("twin");
    let twin = world.inspect("twin");
    assert_ne!(host_port(&web, 0), host_port(&twin, 0));
    // What runs can be taken charge of, and told.
    let told: Value = serde_json::from_str(&world.ok(&["list", "-o", "json"])).unwrap();
    assert_eq!(told.as_array().unwrap().len(), 2);
    let _ = world.ok(&["restart", "twin"]);
    as_told("twin");
    for name in ["twin", "web"] {
        let _ = world.ok(&["rm", "--force", name]);
    }
    world.sandbox.assert_clean();
    assert_eq!(state_of(&lan), before);
}

/// A start that is killed on its way leaves what the next command takes away; and a firewall in the way is told.
fn half_started(world: &World, lan: &Lan) {
    let _ = nft(
        lan,
        &["table ip docker { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"],
    );
    let words = [
        "start",
        "half",
        "-d",
        "-m",
        "128M",
        "--network",
        "direct",
        "-p",
        "0:80",
    ];
    let mut start = world.spawn(&[&words[..], &["--log", "knaller=debug"]].concat());
    start.line("policy of ip docker FORWARD");
    start.line("\"spawn\"");
    start.signal(Signal::KILL);
    let _ = start.end();
    // A process that was forked and has not become the VMM yet shares the claim of the killed one for a moment.
    while world.ok(&["prune", "-o", "json"]).trim() == "[]" {}
    world.sandbox.assert_clean();
    let _ = nft(lan, &["delete", "table", "ip", "docker"]);
}

#[test]
fn an_ordinary_user_is_told_what_to_do() {
    if !is_root() {
        return skip("an_ordinary_user_is_told_what_to_do", "root, to be somebody else");
    }
    let world = World::of_ordinary_user();
    world
        .run(&["start", "web", "-d", "--network", "direct"])
        .fails(6, &["only root", "--network pasta"]);
    world
        .run(&["start", "web", "-d", "--network", "none", "--egress", "deny"])
        .fails(2, &["cannot have egress rules"]);
    world
        .run(&["start", "web", "-d", "--egress", "allow=10.0.0.1/8"])
        .fails(2, &["bits beyond the length"]);
    assert_eq!(world.ok(&["list", "-o", "name"]), "");
}

#[test]
fn a_policy_holds_for_pasta_too() {
    if !is_root() {
        return skip(
            "a_policy_holds_for_pasta_too",
            "root, without whom no network namespace can be set up",
        );
    }
    let (lan, served) = world_around();
    let world = World::of_ordinary_user().through(lan.words());
    let allowed = format!("allow=10.1.2.3:{served}");
    let _ = world.start("web", &["--egress", &allowed]);
    for (host, answers) in [("10.1.2.3", true), ("192.168.77.1", false), (PUBLIC[0], true)] {
        // pasta of 2023-03 may lose the end of a connection whose other half has ended before.
        let line = format!(
            "timeout 20 nc -w 20 {host} {served} </dev/null | head -n 1 | grep . || echo unreachable"
        );
        assert_eq!(world.shell("web", &line) != "unreachable\n", answers, "{host}");
    }
    world.stop_and_remove("web");
}
