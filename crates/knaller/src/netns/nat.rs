//! The packet rules of a machine's namespace. The invariant: a guest reaches nothing by its interface that the plan
//! does not give it, and its VMM, which has no capability, cannot change that.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Doors, Egress, Error, Hole, Plan, Port};
use crate::Prefix;
use crate::network::addresses::{GUEST_V4, GUEST_V6, PREFIX_V4, PREFIX_V6, TAP};
use crate::network::egress::{PLATFORM, metadata, refused};
use crate::network::nft::{
    self, Family, Table, accept, drop, interface, is_known, is_new, masquerade, matches, prefix, protocol,
    reject, to_port,
};

const TABLE: Table = Table("knaller");

/// Chains that end what was let in by a port that is closed since, by where packets are met: on their way through, from
/// connections that pasta makes in here, and back to those. They come with the first change.
const CLOSING: [(&str, &str); 3] = [
    ("closing", "forward"),
    ("closing-local", "output"),
    ("closing-back", "input"),
];

/// What a connection is marked with that was cut off (`ct mark`).
const CUT: u32 = 1;

/// The port of name servers (RFC 1035, 4.2).
const DNS: u16 = 53;

/// Loads the rules.
pub(super) fn apply(plan: &Plan) -> Result<(), Error> {
    nft::apply(&plan.nft, &ruleset(plan)).map_err(|e| Error::new("packet rules")(&e))
}

/// Everything that `nft` is told.
pub(super) fn ruleset(plan: &Plan) -> Vec<Value> {
    let mut commands = vec![
        TABLE.add(),
        TABLE.chain("arriving", "nat", "prerouting", -100),
        TABLE.chain("local", "nat", "output", -100),
        TABLE.chain("leaving", "nat", "postrouting", 100),
        TABLE.chain("passing", "filter", "forward", 0),
        TABLE.chain("asked", "filter", "input", 0),
    ];
    commands.extend(ways_in(&plan.ports, plan.ipv6));
    for family in Family::all(plan.ipv6) {
        // A guest cannot answer to its own loopback.
        let into_guest = interface("oifname", "==", TAP);
        commands.push(TABLE.rule(
            "leaving",
            &[family.from(&family.loopback()), into_guest, masquerade()],
        ));
        let out = interface("oifname", "!=", TAP);
        commands.push(TABLE.rule("leaving", &[family.from(&family.guests()), out, masquerade()]));
    }
    commands.extend(match &plan.egress {
        None => usual(plan),
        Some(egress) => policy(plan, egress),
    });
    commands.extend(nothing_here_for_the_guest());
    commands
}

/// The rules for these ports in place of those before. What came in by another one, or went to another of the guest's, ends with
/// its next packet: that becomes a reset for whom it goes to, and who sends one more is told, too. One alone would leave the
/// other end waiting.
pub(super) fn renew(doors: &Doors) -> Result<(), Error> {
    nft::apply(&doors.nft, &renewal(doors)).map_err(|e| Error::new("packet rules")(&e))
}

fn renewal(doors: &Doors) -> Vec<Value> {
    let mut commands = vec![TABLE.flush("arriving"), TABLE.flush("local")];
    commands.extend(ways_in(&doors.ports, doors.ipv6));
    for (chain, hook) in CLOSING {
        commands.extend([TABLE.chain(chain, "filter", hook, -1), TABLE.flush(chain)]);
        // These rules' own answers, which would be refused in their turn on their way out.
        commands.push(TABLE.rule(chain, &[matches("in", &ct("state"), &json!("related")), accept()]));
        for port in &doors.ports {
            commands.push(TABLE.rule(chain, &[&was_let_in(*port)[..], &[accept()]].concat()));
        }
        let let_in = matches("in", &ct("status"), &json!("dnat"));
        let flags = json!({"payload": {"protocol": "tcp", "field": "flags"}});
        let first = [
            let_in.clone(),
            protocol("tcp"),
            matches("!=", &ct("mark"), &json!(CUT)),
            set_to(&ct("mark"), &json!(CUT)),
            set_to(&flags, &json!({"|": ["rst", "ack"]})),
            accept(),
        ];
        let reset = json!({"reject": {"type": "tcp reset"}});
        commands.push(TABLE.rule(chain, &first));
        commands.push(TABLE.rule(chain, &[let_in.clone(), protocol("tcp"), reset]));
        commands.push(TABLE.rule(chain, &[let_in, reject()]));
    }
    commands
}

fn ct(key: &str) -> Value {
    json!({"ct": {"key": key}})
}

fn set_to(what: &Value, value: &Value) -> Value {
    json!({"mangle": {"key": what, "value": value}})
}

/// Packets of what came in by this port, of either direction.
fn was_let_in(port: Port) -> [Value; 3] {
    let of = |key: &str, direction: &str, port: u16| {
        matches("==", &json!({"ct": {"key": key, "dir": direction}}), &json!(port))
    };
    [
        protocol(&port.protocol.to_string()),
        of("proto-dst", "original", port.port),
        of("proto-src", "reply", port.guest_port),
    ]
}

/// What leads from the ports to the guest.
fn ways_in(ports: &[Port], ipv6: bool) -> Vec<Value> {
    let mut commands = Vec::new();
    for family in Family::all(ipv6) {
        for port in ports {
            // From outside, and from the host's own other addresses.
            let outside = interface("iifname", "!=", TAP);
            commands.push(TABLE.rule(
                "arriving",
                &[outside, family.is(), is_port(*port), family.to_guest(*port)],
            ));
            // From the host's loopback: old pasta makes such connections on the loopback in here.
            let loopback = interface("oifname", "==", "lo");
            commands.push(TABLE.rule(
                "local",
                &[loopback, family.is(), is_port(*port), family.to_guest(*port)],
            ));
        }
    }
    commands
}

/// What a guest without a policy may not reach.
fn usual(plan: &Plan) -> Vec<Value> {
    let mut commands = Vec::new();
    for family in Family::all(plan.ipv6) {
        // Metadata services answer to anybody on the machine; a guest is somebody else. Its own is the VMM's, which takes
        // those packets before they come here.
        commands.push(from_guest([family.to(&ranges(*family, metadata())), drop()]));
        if family.has(&PLATFORM.address) {
            // It is the host's name server where there is one, and asks whether a forwarded port answers.
            let platform = family.to(&json!(PLATFORM.to_string()));
            let [carries_ports, port] = to_port(DNS);
            commands.push(from_guest([platform.clone(), carries_ports, port, accept()]));
            commands.push(from_guest([platform, is_new(), drop()]));
        }
        commands.extend(host_is_closed(*family, &plan.host));
    }
    commands
}

/// What one with a policy may: the first rule that fits counts.
fn policy(plan: &Plan, egress: &Egress) -> Vec<Value> {
    let mut commands = vec![from_guest([is_known(), accept()])];
    for family in Family::all(plan.ipv6) {
        // Under another's address the answers go elsewhere, and the rules out of the namespace do not fit.
        let forged = matches("!=", &family.field("saddr"), &family.guests());
        commands.push(from_guest([family.is(), forged, drop()]));
        if let Some(servers) = set(*family, &egress.servers) {
            let [carries_ports, port] = to_port(DNS);
            commands.push(from_guest([family.to(&servers), carries_ports, port, accept()]));
        }
        commands.extend(host_is_closed(*family, &plan.host));
        let holes = egress
            .holes
            .iter()
            .filter(|hole| family.has(&hole.prefix.address));
        commands.extend(holes.map(|hole| hole_in(*family, hole)));
        if egress.deny {
            commands.push(from_guest([family.is(), reject()]));
            continue;
        }
        commands.push(from_guest([family.to(&ranges(*family, refused())), reject()]));
    }
    commands
}

fn hole_in(family: Family, hole: &Hole) -> Value {
    let there = match hole.prefix.length {
        // nft knows no such prefix.
        0 => family.is(),
        length => family.to(&prefix(&hole.prefix.address.to_string(), length)),
    };
    match hole.port {
        None => from_guest([there, accept()]),
        Some(port) => {
            let [carries_ports, port] = to_port(port);
            from_guest([there, carries_ports, port, accept()])
        }
    }
}

/// The host's own programs may come to the guest by its forwards and are answered; the guest may not come to them.
fn host_is_closed(family: Family, host: &[IpAddr]) -> Option<Value> {
    let own = set(family, host)?;
    Some(from_guest([family.to(&own), is_new(), reject()]))
}

/// Those of the family.
fn ranges(family: Family, all: Vec<Prefix>) -> Value {
    let own = all.into_iter().filter(|range| family.has(&range.address));
    let set: Vec<_> = own
        .map(|range| match range == Prefix::host(range.address) {
            true => json!(range.address.to_string()),
            false => prefix(&range.address.to_string(), range.length),
        })
        .collect();
    json!({ "set": set })
}

/// Those of the family, if there are any.
fn set(family: Family, addresses: &[IpAddr]) -> Option<Value> {
    let own = addresses.iter().filter(|address| family.has(address));
    let set: Vec<_> = own.map(ToString::to_string).collect();
    (!set.is_empty()).then(|| json!({ "set": set }))
}

/// The guest's packets are to be carried on. Nothing in here is for it but its gateway's answers to pings and neighbour
/// solicitations; its own answers to connections from in here (`ct state established`) are let in.
fn nothing_here_for_the_guest() -> [Value; 4] {
    let asked = |expressions: &[Value]| {
        let mut all = vec![interface("iifname", "==", TAP)];
        all.extend_from_slice(expressions);
        TABLE.rule("asked", &all)
    };
    [
        asked(&[is_known(), accept()]),
        asked(&[protocol("icmp"), accept()]),
        asked(&[protocol("ipv6-icmp"), accept()]),
        asked(&[drop()]),
    ]
}

/// A rule for what the guest sends on.
fn from_guest<const N: usize>(expressions: [Value; N]) -> Value {
    let mut all = vec![interface("iifname", "==", TAP)];
    all.extend(expressions);
    TABLE.rule("passing", &all)
}

impl Family {
    fn guests(self) -> Value {
        match self {
            Self::V4 => prefix(&GUEST_V4.to_string(), PREFIX_V4),
            Self::V6 => prefix(&GUEST_V6.to_string(), PREFIX_V6),
        }
    }

    fn to_guest(self, port: Port) -> Value {
        let guest = match self {
            Self::V4 => GUEST_V4.to_string(),
            Self::V6 => GUEST_V6.to_string(),
        };
        json!({"dnat": {"family": self.protocol(), "addr": guest, "port": port.guest_port}})
    }
}

fn is_port(port: Port) -> Value {
    let left = json!({"payload": {"protocol": port.protocol.to_string(), "field": "dport"}});
    matches("==", &left, &json!(port.port))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::Protocol;

    /// What `nft` makes of the rules, in a network namespace that goes with the command.
    fn as_nft_lists_them(plan: &Plan) -> Option<String> {
        listed(&plan.nft, &ruleset(plan))
    }

    fn listed(nft: &Path, commands: &[Value]) -> Option<String> {
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let script = format!("{0} -j -f - && exec {0} list ruleset", nft.display());
        let mut child = unshare
            .args(["--net", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        child
            .stdin
            .take()?
            .write_all(json!({ "nftables": commands }).to_string().as_bytes())
            .ok()?;
        let output = child.wait_with_output().ok()?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).ok()
    }

    #[test]
    fn nft_understands_them_as_they_were_meant() {
        let ports = vec![
            Port {
                protocol: Protocol::Tcp,
                port: 8080,
                guest_port: 80,
            },
            Port {
                protocol: Protocol::Udp,
                port: 5353,
                guest_port: 53,
            },
        ];
        let plan = Plan {
            ports,
            ipv6: true,
            host: ["203.0.113.2", "fd00:113::2", "198.51.100.7"]
                .map(|a| a.parse().unwrap())
                .to_vec(),
            nft: "/usr/sbin/nft".into(),
            egress: None,
        };
        let listed = as_nft_lists_them(&plan).unwrap();
        for rule in [
            "iifname != \"knaller0\" meta nfproto ipv4 tcp dport 8080 dnat ip to 10.255.255.254:80",
            "oifname \"lo\" meta nfproto ipv6 udp dport 5353 dnat ip6 to [fd6b:6e61:6c6c:6572::2]:53",
            "ip saddr 127.0.0.0/8 oifname \"knaller0\" masquerade",
            "ip6 saddr fd6b:6e61:6c6c:6572::/64 oifname != \"knaller0\" masquerade",
            "iifname \"knaller0\" ip daddr { 100.100.100.200, 169.254.0.0/16 } drop",
            "iifname \"knaller0\" ip daddr 168.63.129.16 meta l4proto { tcp, udp } th dport 53 accept",
            "iifname \"knaller0\" ip daddr 168.63.129.16 ct state new drop",
            "iifname \"knaller0\" ip6 daddr { 64:ff9b::6464:64c8, 64:ff9b::a9fe:0/112, fd00:ec2::254, fd20:ce::254 } drop",
            "iifname \"knaller0\" ip daddr { 198.51.100.7, 203.0.113.2 } ct state new reject",
            "iifname \"knaller0\" ip6 daddr fd00:113::2 ct state new reject",
        ] {
            assert!(listed.contains(rule), "{rule}\n{listed}");
        }
        let v4 = as_nft_lists_them(&Plan { ipv6: false, ..plan }).unwrap();
        assert!(!v4.contains("ip6 "), "{v4}");
    }

    #[test]
    fn other_ports_come_in_place_of_those_before() {
        let port = |port, guest_port| Port {
            protocol: Protocol::Tcp,
            port,
            guest_port,
        };
        let plan = Plan {
            ports: vec![port(8080, 80)],
            ipv6: true,
            host: Vec::new(),
            nft: "/usr/sbin/nft".into(),
            egress: None,
        };
        let doors = |ports| Doors {
            ports,
            ipv6: true,
            nft: plan.nft.clone(),
        };
        let changes = [
            doors(vec![port(8080, 80), port(8443, 443)]),
            doors(vec![port(9090, 90)]),
        ];
        let all: Vec<Value> = changes.iter().flat_map(renewal).collect();
        let rules = listed(&plan.nft, &[ruleset(&plan), all].concat()).unwrap();
        for (rule, times) in [
            ("meta nfproto ipv4 tcp dport 9090 dnat ip to 10.255.255.254:90", 2),
            ("ct original proto-dst 9090 ct reply proto-src 90 accept", 3),
            ("ct status dnat", 9),
            ("ct state related accept", 3),
            ("ct mark set 0x00000001 tcp flags set rst | ack accept", 3),
            ("reject with tcp reset", 3),
            ("8080", 0),
            ("443", 0),
            // The others are as they were.
            (
                "iifname \"knaller0\" ip daddr { 100.100.100.200, 169.254.0.0/16 } drop",
                1,
            ),
        ] {
            assert_eq!(rules.matches(rule).count(), times, "{rule}\n{rules}");
        }
    }

    /// The rules for what the guest sends on, without the interface that all of them name.
    fn passing(egress: Egress) -> Vec<String> {
        let plan = Plan {
            ports: Vec::new(),
            ipv6: true,
            host: vec!["203.0.113.2".parse().unwrap()],
            nft: "/usr/sbin/nft".into(),
            egress: Some(egress),
        };
        let listed = as_nft_lists_them(&plan).unwrap();
        let (_, chain) = listed.split_once("chain passing {").unwrap();
        let (chain, _) = chain.split_once("\n\t}").unwrap();
        let rules = chain
            .lines()
            .filter_map(|line| line.trim().strip_prefix("iifname \"knaller0\" "));
        rules.map(str::to_owned).collect()
    }

    #[test]
    fn a_policy_is_a_list_in_which_the_first_that_fits_counts() {
        let hole = |prefix: &str, port| Hole {
            prefix: prefix.parse().unwrap(),
            port,
        };
        let open = Egress {
            deny: false,
            servers: vec!["10.0.0.53".parse().unwrap()],
            holes: vec![
                hole("10.1.0.0/16", Some(443)),
                hole("fd00::/8", None),
                hole("0.0.0.0/0", Some(25)),
            ],
        };
        let rules = passing(open.clone());
        let expected = [
            "ct state established,related accept",
            "ip saddr != 10.255.255.252/30 drop",
            "ip daddr 10.0.0.53 meta l4proto { tcp, udp } th dport 53 accept",
            "ip daddr 203.0.113.2 ct state new reject with icmp port-unreachable",
            "ip daddr 10.1.0.0/16 meta l4proto { tcp, udp } th dport 443 accept",
            "meta nfproto ipv4 meta l4proto { tcp, udp } th dport 25 accept",
        ];
        assert_eq!(rules[..expected.len()], expected, "{rules:#?}");
        assert!(rules[6].starts_with(
            "ip daddr { 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16, 169.254.0.0/16"
        ));
        assert_eq!(rules[8], "ip6 daddr fd00::/8 accept");
        assert!(
            rules[9].starts_with("ip6 daddr { ") && rules[9].contains("fc00::/7"),
            "{rules:#?}"
        );
        let closed = passing(Egress {
            deny: true,
            servers: Vec::new(),
            ..open
        });
        assert_eq!(
            closed.iter().filter(|rule| rule.contains("reject")).count(),
            3,
            "{closed:#?}"
        );
        assert!(
            !closed.iter().any(|rule| rule.contains("dport 53")),
            "{closed:#?}"
        );
        let last = closed.last().unwrap();
        assert!(last.starts_with("reject with icmpv6"), "{last}");
    }
}
