//! The host's one table of ours. The invariant: its rules are the same for every machine and speak of our interfaces
//! alone; what is of one machine is an element that names its boot. No other table is read for more than doctor's sake,
//! and none is changed.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::forwarding::Switched;
use super::slot::{INTERFACE, Slot};
use crate::Forward;
use crate::network::nft::{
    self, Family, Table, accept, drop, interface, is_known, is_new, masquerade, matches, protocol, to_port,
};

const TABLE: Table = Table("knaller");

/// The port of name servers (RFC 1035, 4.2).
const DNS: u16 = 53;

/// Interfaces that forward because of us: what comes in by them is carried on to machines and to nowhere else.
const OPENED: &str = "opened";

/// What the table holds of machines.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Held {
    /// Whether there is a table.
    pub(super) exists: bool,
    /// By map, as nft lists them, with the boot they name.
    forwards: Vec<(String, String, Value)>,
}

/// A set or map per family: `open4`.
fn of_family(name: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("{name}4"),
        Family::V6 => format!("{name}6"),
    }
}

impl Held {
    pub(super) fn load(nft: &Path) -> io::Result<Self> {
        Ok(Self::parse(&nft::list(nft, &["table", "inet", TABLE.0])?))
    }

    fn parse(objects: &[Value]) -> Self {
        let mut held = Self {
            exists: !objects.is_empty(),
            ..Self::default()
        };
        for object in objects {
            let Some(of) = object.get("map") else { continue };
            let name = of.get("name").and_then(Value::as_str).unwrap_or_default();
            let elements = of.get("elem").and_then(Value::as_array);
            for element in elements.into_iter().flatten() {
                if let Some(boot) = element.pointer("/0/elem/comment").and_then(Value::as_str) {
                    held.forwards
                        .push((name.to_owned(), boot.to_owned(), element.clone()));
                }
            }
        }
        held
    }

    /// The rules, where there is no table.
    pub(super) fn or_rules(&self, switched: &Switched) -> Vec<Value> {
        if self.exists {
            return Vec::new();
        }
        rules(switched)
    }

    /// Whether any port leads to this boot's machine.
    pub(super) fn has(&self, instance: &str) -> bool {
        self.forwards.iter().any(|(_, boot, _)| boot == instance)
    }

    /// Whether a boot that has ended left something.
    pub(super) fn is_stale(&self, live: &[&str]) -> bool {
        self.forwards
            .iter()
            .any(|(_, boot, _)| !live.contains(&boot.as_str()))
    }

    /// Takes away what boots that have ended left.
    pub(super) fn sweep(&self, live: &[&str]) -> Vec<Value> {
        self.delete(|boot| !live.contains(&boot))
    }

    /// Takes away what this boot has.
    pub(super) fn forget(&self, instance: &str) -> Vec<Value> {
        self.delete(|boot| boot == instance)
    }

    fn delete(&self, which: impl Fn(&str) -> bool) -> Vec<Value> {
        let those = self.forwards.iter().filter(|(_, boot, _)| which(boot));
        those
            .map(|(map, _, element)| elements("delete", map, element))
            .collect()
    }
}

pub(super) fn delete() -> Value {
    TABLE.delete()
}

fn elements(what: &str, of: &str, element: &Value) -> Value {
    json!({what: {"element": {"family": "inet", "table": TABLE.0, "name": of, "elem": [element]}}})
}

/// The table with all its rules, whether it was there or not, and what of it was changed on the host.
pub(super) fn rules(switched: &Switched) -> Vec<Value> {
    let chains = [
        // Before connections are tracked, so that what is forged leaves no trace there.
        ("first", "filter", "prerouting", -300),
        ("arriving", "nat", "prerouting", -100),
        ("local", "nat", "output", -100),
        ("leaving", "nat", "postrouting", 100),
        ("passing", "filter", "forward", 0),
        ("asked", "filter", "input", 0),
    ];
    let mut commands = vec![TABLE.add()];
    for family in [Family::V4, Family::V6] {
        commands.extend(maps(family));
    }
    for (name, kind, hook, priority) in chains {
        commands.push(TABLE.chain(name, kind, hook, priority));
        commands.push(TABLE.flush(name));
    }
    let forged = matches(
        "==",
        &json!({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}),
        &json!(0),
    );
    commands.push(TABLE.rule("first", &[from_machine(), forged, drop()]));
    for family in [Family::V4, Family::V6] {
        // `route_localnet` would let a machine come to what listens on the loopback alone.
        let to_loopback = family.to(&family.loopback());
        commands.push(TABLE.rule("first", &[from_machine(), to_loopback, drop()]));
        commands.extend(ways_in(family));
        let from_loopback = family.from(&family.loopback());
        commands.push(TABLE.rule("leaving", &[from_loopback, to_machine(), masquerade()]));
    }
    commands.push(TABLE.rule("leaving", &[from_machine(), to_others(), masquerade()]));
    commands.push(TABLE.rule("passing", &[from_machine(), to_machine(), drop()]));
    commands.push(TABLE.rule("passing", &[to_machine(), is_new(), is_not_forwarded(), drop()]));
    for (family, opened) in [Family::V4, Family::V6].into_iter().zip(&switched.opened) {
        if !opened.is_empty() {
            commands.push(guard(family));
        }
        for interface in opened {
            commands.push(elements("add", &of_family(OPENED, family), &json!(interface)));
        }
    }
    commands.extend(only_answers_for_machines());
    commands
}

/// Ports of the host that lead to machines: of all its addresses, or of one.
fn maps(family: Family) -> [Value; 3] {
    let address = match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    };
    let map = |name: &str, key: &[&str]| {
        json!({"add": {"map": {
            "family": "inet", "table": TABLE.0, "name": of_family(name, family), "type": key, "map": address,
        }}})
    };
    [
        map("open", &["inet_proto", "inet_service"]),
        map("bound", &[address, "inet_proto", "inet_service"]),
        interfaces(&of_family(OPENED, family)),
    ]
}

fn interfaces(set: &str) -> Value {
    json!({"add": {"set": {"family": "inet", "table": TABLE.0, "name": set, "type": "ifname"}}})
}

/// From others and from the host itself, by any address of the host's.
fn ways_in(family: Family) -> Vec<Value> {
    let port = [
        json!({"meta": {"key": "l4proto"}}),
        json!({"payload": {"protocol": "th", "field": "dport"}}),
    ];
    let to_host = matches(
        "==",
        &json!({"fib": {"result": "type", "flags": ["daddr"]}}),
        &json!("local"),
    );
    let lead = |map: &str, key: Vec<Value>| {
        let map = format!("@{}", of_family(map, family));
        json!({"dnat": {"family": family.protocol(), "addr": {"map": {"key": {"concat": key}, "data": map}}}})
    };
    let bound = lead("bound", [vec![family.field("daddr")], port.to_vec()].concat());
    let open = lead("open", port.to_vec());
    let not_a_machine = interface("iifname", "!=", &any());
    let mut commands = Vec::new();
    for way in [bound, open] {
        let expressions = [not_a_machine.clone(), family.is(), to_host.clone(), way.clone()];
        commands.push(TABLE.rule("arriving", &expressions));
        commands.push(TABLE.rule("local", &[family.is(), to_host.clone(), way]));
    }
    commands
}

/// What the kernel carries on only since we told it to, and for nobody of ours. New ones alone: who is forwarded by
/// another's rules, or has begun behind the host, is that one's.
fn guard(family: Family) -> Value {
    let opened = json!(format!("@{}", of_family(OPENED, family)));
    let by_opened = matches("==", &json!({"meta": {"key": "iifname"}}), &opened);
    let expressions = [
        family.is(),
        by_opened,
        to_others(),
        is_new(),
        is_not_forwarded(),
        drop(),
    ];
    TABLE.rule("passing", &expressions)
}

/// A machine is to reach others, not the host. Its rules, in its own namespace, have it so already, but for addresses
/// that the host was given since.
fn only_answers_for_machines() -> [Value; 5] {
    let [carries_ports, port] = to_port(DNS);
    [
        TABLE.rule("asked", &[from_machine(), is_known(), accept()]),
        TABLE.rule("asked", &[from_machine(), protocol("icmp"), accept()]),
        TABLE.rule("asked", &[from_machine(), protocol("ipv6-icmp"), accept()]),
        // Of name servers that are the host's own.
        TABLE.rule("asked", &[from_machine(), carries_ports, port, accept()]),
        TABLE.rule("asked", &[from_machine(), drop()]),
    ]
}

/// The elements of one machine's forwards.
pub(super) fn forwards(forwards: &[Forward], slot: Slot, ipv6: bool, instance: &str) -> Vec<Value> {
    let mut commands = Vec::new();
    for forward in forwards {
        for family in Family::all(ipv6) {
            let bind = forward.bind.filter(|address| !address.is_unspecified());
            if forward.bind.is_some_and(|address| !family.has(&address)) {
                continue;
            }
            let (map, mut key) = match bind {
                None => ("open", Vec::new()),
                Some(address) => ("bound", vec![json!(address)]),
            };
            key.extend([json!(forward.protocol), json!(forward.host_port)]);
            let machine = match family {
                Family::V4 => json!(slot.machine_v4()),
                Family::V6 => json!(slot.machine_v6()),
            };
            let element = json!([{"elem": {"val": {"concat": key}, "comment": instance}}, machine]);
            commands.push(elements("add", &of_family(map, *family), &element));
        }
    }
    commands
}

/// Chains of others that drop what is carried on unless one of their rules accepts it: no rule of ours can (nft(8), "verdict
/// statements": a packet is dropped by any chain that drops it).
pub(crate) fn obstacles(nft: &Path) -> io::Result<Vec<String>> {
    Ok(obstacles_in(&nft::list(nft, &["chains"])?))
}

fn obstacles_in(objects: &[Value]) -> Vec<String> {
    let text = |chain: &Value, key: &str| {
        chain
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let drops = |chain: &&Value| {
        text(chain, "hook") == "forward" && text(chain, "policy") == "drop" && text(chain, "table") != TABLE.0
    };
    objects
        .iter()
        .filter_map(|object| object.get("chain"))
        .filter(drops)
        .map(|chain| ["family", "table", "name"].map(|key| text(chain, key)).join(" "))
        .collect()
}

/// All of our interfaces.
fn any() -> String {
    format!("{INTERFACE}*")
}

fn from_machine() -> Value {
    interface("iifname", "==", &any())
}

fn to_machine() -> Value {
    interface("oifname", "==", &any())
}

fn to_others() -> Value {
    interface("oifname", "!=", &any())
}

/// Nobody has sent it somewhere else than where it was going.
fn is_not_forwarded() -> Value {
    let status = json!({"&": [{"ct": {"key": "status"}}, "dnat"]});
    matches("!=", &status, &json!("dnat"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::process::geteuid;

    use super::*;
    use crate::network::direct::namespace;

    const NFT: &str = "/usr/sbin/nft";

    fn ports(texts: &[&str]) -> Vec<Forward> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_put_in_is_found_and_goes_with_its_boot() {
        if !geteuid().is_root() {
            return testkit::skip(
                "what_is_put_in_is_found_and_goes_with_its_boot",
                "root, without whom there is no network namespace to have rules in",
            );
        }
        let own = namespace::new().unwrap();
        namespace::within(own.as_fd(), || {
            let nft = Path::new(NFT);
            let foreign = [
                json!({"add": {"table": {"family": "ip", "name": "other"}}}),
                json!({"add": {"chain": {"family": "ip", "table": "other", "name": "FORWARD", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}}),
            ];
            nft::apply(nft, &foreign).unwrap();
            assert_eq!(Held::load(nft).unwrap(), Held::default());
            let switched = Switched::noted(&["kn-opened4-eth0".to_owned()]);
            let slot = super::super::slot::find(None, &[], &[]).unwrap();
            let texts = ["8080:80", "127.0.0.1:8443:443", "[::1]:5353:53/udp", "0.0.0.0:25:25"];
            for boot in ["a-1", "b-2"] {
                // Twice the same rules, as for two machines.
                let own = if boot == "a-1" { &texts[..] } else { &["9000:90"] };
                let commands = [rules(&switched), forwards(&ports(own), slot, true, boot)].concat();
                nft::apply(nft, &commands).unwrap();
            }
            let listed = Held::load(nft).unwrap();
            // 8080 and 9000 have one of each family.
            assert_eq!(listed.forwards.len(), 7, "{listed:?}");
            assert!(!listed.is_stale(&["a-1", "b-2"]) && listed.is_stale(&["b-2"]));
            nft::apply(nft, &listed.sweep(&["b-2"])).unwrap();
            let left = Held::load(nft).unwrap();
            assert!(left.forwards.iter().all(|(_, boot, _)| boot == "b-2"));
            assert_eq!(left.forwards.len(), 2);
            let chain = nft::list(nft, &["chain", "inet", TABLE.0, "passing"]).unwrap();
            let rules = chain.iter().filter(|object| object.get("rule").is_some());
            assert_eq!(rules.count(), 3, "they are not there twice: {chain:?}");
            assert_eq!(obstacles(nft).unwrap(), ["ip other FORWARD"]);
            nft::apply(nft, &[delete()]).unwrap();
            assert!(!Held::load(nft).unwrap().exists);
        })
        .unwrap();
    }
}
