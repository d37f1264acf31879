//! The packet rules, as JSON for `nft` (libnftables-json(5)).

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Error, Plan, Port};
use crate::network::addresses::{GUEST_V4, GUEST_V6, PREFIX_V4, PREFIX_V6, TAP};

const TABLE: &str = "knaller";

/// Loads the rules.
pub(super) fn apply(plan: &Plan) -> Result<(), Error> {
    let failed = Error::new("packet rules");
    let mut nft = Command::new(&plan.nft)
        .args(["-j", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(&format!("cannot run {}: {e}", plan.nft.display())))?;
    let rules = ruleset(plan).to_string();
    // nft that ends without reading says why on its standard error, which is worth more than the broken pipe.
    let written = nft
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(rules.as_bytes()));
    let output = nft.wait_with_output().map_err(|e| failed(&e))?;
    if !output.status.success() {
        return Err(failed(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    written.map_err(|e| failed(&e))
}

/// Everything that `nft` is told.
pub(super) fn ruleset(plan: &Plan) -> Value {
    let mut commands = vec![
        json!({"add": {"table": {"family": "inet", "name": TABLE}}}),
        chain("arriving", "nat", "prerouting", -100),
        chain("local", "nat", "output", -100),
        chain("leaving", "nat", "postrouting", 100),
        chain("passing", "filter", "forward", 0),
        chain("asked", "filter", "input", 0),
    ];
    let families = if plan.ipv6 {
        &[Family::V4, Family::V6][..]
    } else {
        &[Family::V4]
    };
    for family in families {
        for port in &plan.ports {
            // From outside, and from the host's own other addresses.
            let outside = interface("iifname", "!=", TAP);
            commands.push(rule(
                "arriving",
                &[outside, family.is(), to_port(*port), family.to_guest(*port)],
            ));
            // From the host's loopback: old pasta makes such connections on the loopback in here.
            let loopback = interface("oifname", "==", "lo");
            commands.push(rule(
                "local",
                &[loopback, family.is(), to_port(*port), family.to_guest(*port)],
            ));
        }
        // A guest cannot answer to its own loopback.
        let into_guest = interface("oifname", "==", TAP);
        commands.push(rule(
            "leaving",
            &[
                family.from(&family.loopback()),
                into_guest,
                json!({"masquerade": null}),
            ],
        ));
        let out = interface("oifname", "!=", TAP);
        commands.push(rule(
            "leaving",
            &[family.from(&family.guests()), out, json!({"masquerade": null})],
        ));
        // Metadata services answer to anybody on the machine; a guest is somebody else. Its own is the VMM's, which takes
        // those packets before they come here.
        let from_guest = interface("iifname", "==", TAP);
        commands.push(rule(
            "passing",
            &[from_guest, family.to(&family.metadata()), json!({"drop": null})],
        ));
        commands.extend(host_is_closed(*family, &plan.host));
    }
    commands.extend(nothing_here_for_the_guest());
    json!({ "nftables": commands })
}

/// The host's own programs may come to the guest by its forwards and are answered; the guest may not come to them.
fn host_is_closed(family: Family, host: &[IpAddr]) -> Option<Value> {
    let own = host.iter().filter(|address| family.has(address));
    let set: Vec<_> = own.map(ToString::to_string).collect();
    if set.is_empty() {
        return None;
    }
    let to_host = family.to(&json!({ "set": set }));
    let new = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}});
    let from_guest = interface("iifname", "==", TAP);
    // Said, not swallowed: a program of the guest's may well try.
    Some(rule(
        "passing",
        &[from_guest, to_host, new, json!({"reject": null})],
    ))
}

/// The guest's packets are to be carried on. Nothing in here is for it but its gateway's answers to pings and neighbour
/// solicitations; its own answers to connections from in here (`ct state established`) are let in.
fn nothing_here_for_the_guest() -> [Value; 4] {
    let from_guest = || interface("iifname", "==", TAP);
    let protocol =
        |name: &str| json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": name}});
    let known =
        json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}});
    [
        rule("asked", &[from_guest(), known, json!({"accept": null})]),
        rule(
            "asked",
            &[from_guest(), protocol("icmp"), json!({"accept": null})],
        ),
        rule(
            "asked",
            &[from_guest(), protocol("ipv6-icmp"), json!({"accept": null})],
        ),
        rule("asked", &[from_guest(), json!({"drop": null})]),
    ]
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// The protocol's name in a payload expression.
    fn protocol(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn has(self, address: &IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    fn is(self) -> Value {
        let name = match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        };
        json!({"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": name}})
    }

    fn loopback(self) -> Value {
        match self {
            Self::V4 => prefix("127.0.0.0", 8),
            Self::V6 => json!("::1"),
        }
    }

    fn guests(self) -> Value {
        match self {
            Self::V4 => prefix(&GUEST_V4.to_string(), PREFIX_V4),
            Self::V6 => prefix(&GUEST_V6.to_string(), PREFIX_V6),
        }
    }

    /// Where clouds serve a machine's credentials: 169.254.169.254 and others of its prefix; fd00:ec2::254 (AWS).
    fn metadata(self) -> Value {
        match self {
            Self::V4 => prefix("169.254.0.0", 16),
            Self::V6 => json!("fd00:ec2::254"),
        }
    }

    fn from(self, whom: &Value) -> Value {
        self.address("saddr", whom)
    }

    fn to(self, whom: &Value) -> Value {
        self.address("daddr", whom)
    }

    fn address(self, field: &str, value: &Value) -> Value {
        let left = json!({"payload": {"protocol": self.protocol(), "field": field}});
        json!({"match": {"op": "==", "left": left, "right": value}})
    }

    fn to_guest(self, port: Port) -> Value {
        let guest = match self {
            Self::V4 => GUEST_V4.to_string(),
            Self::V6 => GUEST_V6.to_string(),
        };
        json!({"dnat": {"family": self.protocol(), "addr": guest, "port": port.guest_port}})
    }
}

fn chain(name: &str, kind: &str, hook: &str, priority: i32) -> Value {
    json!({"add": {"chain": {
        "family": "inet", "table": TABLE, "name": name,
        "type": kind, "hook": hook, "prio": priority, "policy": "accept",
    }}})
}

fn rule(chain: &str, expressions: &[Value]) -> Value {
    json!({"add": {"rule": {"family": "inet", "table": TABLE, "chain": chain, "expr": expressions}}})
}

fn interface(key: &str, op: &str, name: &str) -> Value {
    json!({"match": {"op": op, "left": {"meta": {"key": key}}, "right": name}})
}

fn to_port(port: Port) -> Value {
    let left = json!({"payload": {"protocol": port.protocol.to_string(), "field": "dport"}});
    json!({"match": {"op": "==", "left": left, "right": port.port}})
}

fn prefix(address: &str, length: u8) -> Value {
    json!({"prefix": {"addr": address, "len": length}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    /// What `nft` makes of the rules, in a network namespace that goes with the command.
    fn as_nft_lists_them(plan: &Plan) -> Option<String> {
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let script = format!("{0} -j -f - && exec {0} list ruleset", plan.nft.display());
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
            .write_all(ruleset(plan).to_string().as_bytes())
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
        };
        let listed = as_nft_lists_them(&plan).unwrap();
        for rule in [
            "iifname != \"knaller0\" meta nfproto ipv4 tcp dport 8080 dnat ip to 10.255.255.254:80",
            "oifname \"lo\" meta nfproto ipv6 udp dport 5353 dnat ip6 to [fd6b:6e61:6c6c:6572::2]:53",
            "ip saddr 127.0.0.0/8 oifname \"knaller0\" masquerade",
            "ip6 saddr fd6b:6e61:6c6c:6572::/64 oifname != \"knaller0\" masquerade",
            "iifname \"knaller0\" ip daddr 169.254.0.0/16 drop",
            "iifname \"knaller0\" ip daddr { 198.51.100.7, 203.0.113.2 } ct state new reject",
            "iifname \"knaller0\" ip6 daddr fd00:113::2 ct state new reject",
        ] {
            assert!(listed.contains(rule), "{rule}\n{listed}");
        }
        let v4 = as_nft_lists_them(&Plan { ipv6: false, ..plan }).unwrap();
        assert!(!v4.contains("ip6 "), "{v4}");
    }
}
