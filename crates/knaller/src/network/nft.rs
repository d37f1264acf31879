//! Packet rules, as JSON for `nft` (libnftables-json(5)): what their expressions are called, and how they get there. The
//! invariant: one call is one transaction of the kernel's, so that all of it holds or nothing.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Hands commands to the kernel, of the network namespace that the calling thread is in.
pub(crate) fn apply(nft: &Path, commands: &[Value]) -> io::Result<()> {
    let mut child = command(nft)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_run(nft, &error))?;
    let rules = json!({ "nftables": commands }).to_string();
    // nft that ends without reading says why on its standard error, which is worth more than the broken pipe.
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(rules.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(said(&output.stderr));
    }
    written
}

/// What is there: the objects that `nft list WHAT…` shows. None of what is not there.
pub(crate) fn list(nft: &Path, what: &[&str]) -> io::Result<Vec<Value>> {
    let output = command(nft)
        .arg("list")
        .args(what)
        .output()
        .map_err(|error| cannot_run(nft, &error))?;
    if !output.status.success() {
        let error = said(&output.stderr);
        // Linux's text for ENOENT, which nft puts into its own.
        return match error.to_string().contains("No such file or directory") {
            true => Ok(Vec::new()),
            false => Err(error),
        };
    }
    match serde_json::from_slice::<Value>(&output.stdout)?.get_mut("nftables") {
        Some(Value::Array(objects)) => Ok(std::mem::take(objects)),
        _ => Err(io::Error::other("nft has not shown what it was to list")),
    }
}

fn command(nft: &Path) -> Command {
    let mut command = Command::new(nft);
    command
        .arg("-j")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn cannot_run(nft: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot run {}: {error}", nft.display()))
}

fn said(stderr: &[u8]) -> io::Error {
    io::Error::other(String::from_utf8_lossy(stderr).trim().to_owned())
}

/// A table of the family `inet`, and what is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table(pub(crate) &'static str);

impl Table {
    pub(crate) fn add(self) -> Value {
        json!({"add": {"table": {"family": "inet", "name": self.0}}})
    }

    pub(crate) fn delete(self) -> Value {
        json!({"delete": {"table": {"family": "inet", "name": self.0}}})
    }

    pub(crate) fn chain(self, name: &str, kind: &str, hook: &str, priority: i32) -> Value {
        json!({"add": {"chain": {
            "family": "inet", "table": self.0, "name": name,
            "type": kind, "hook": hook, "prio": priority, "policy": "accept",
        }}})
    }

    /// Empties a chain.
    pub(crate) fn flush(self, chain: &str) -> Value {
        json!({"flush": {"chain": {"family": "inet", "table": self.0, "name": chain}}})
    }

    pub(crate) fn rule(self, chain: &str, expressions: &[Value]) -> Value {
        json!({"add": {"rule": {"family": "inet", "table": self.0, "chain": chain, "expr": expressions}}})
    }
}

/// A field of IPv4 or IPv6, and how its protocol is called in each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// IPv4, and IPv6 where there is some.
    pub(crate) fn all(ipv6: bool) -> &'static [Self] {
        if ipv6 { &[Self::V4, Self::V6] } else { &[Self::V4] }
    }

    /// The protocol's name in a payload expression.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    pub(crate) fn has(self, address: &std::net::IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    pub(crate) fn is(self) -> Value {
        let name = match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        };
        json!({"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": name}})
    }

    pub(crate) fn loopback(self) -> Value {
        match self {
            Self::V4 => prefix("127.0.0.0", 8),
            Self::V6 => json!("::1"),
        }
    }

    pub(crate) fn field(self, field: &str) -> Value {
        json!({"payload": {"protocol": self.protocol(), "field": field}})
    }

    pub(crate) fn from(self, whom: &Value) -> Value {
        matches("==", &self.field("saddr"), whom)
    }

    pub(crate) fn to(self, whom: &Value) -> Value {
        matches("==", &self.field("daddr"), whom)
    }
}

pub(crate) fn matches(op: &str, left: &Value, right: &Value) -> Value {
    json!({"match": {"op": op, "left": left, "right": right}})
}

pub(crate) fn interface(key: &str, op: &str, name: &str) -> Value {
    matches(op, &json!({"meta": {"key": key}}), &json!(name))
}

pub(crate) fn protocol(name: &str) -> Value {
    matches("==", &json!({"meta": {"key": "l4proto"}}), &json!(name))
}

/// A port of TCP or UDP, whichever it is.
pub(crate) fn to_port(port: u16) -> [Value; 2] {
    let carries_ports = json!({"meta": {"key": "l4proto"}});
    let port_field = json!({"payload": {"protocol": "th", "field": "dport"}});
    [
        matches("==", &carries_ports, &json!({"set": ["tcp", "udp"]})),
        matches("==", &port_field, &json!(port)),
    ]
}

/// Packets that begin something.
pub(crate) fn is_new() -> Value {
    matches("in", &json!({"ct": {"key": "state"}}), &json!("new"))
}

/// Packets of something that was let in before.
pub(crate) fn is_known() -> Value {
    matches(
        "in",
        &json!({"ct": {"key": "state"}}),
        &json!(["established", "related"]),
    )
}

pub(crate) fn prefix(address: &str, length: u8) -> Value {
    json!({"prefix": {"addr": address, "len": length}})
}

pub(crate) fn accept() -> Value {
    json!({"accept": null})
}

pub(crate) fn drop() -> Value {
    json!({"drop": null})
}

/// Said, not swallowed: who tried is told at once.
pub(crate) fn reject() -> Value {
    json!({"reject": null})
}

pub(crate) fn masquerade() -> Value {
    json!({"masquerade": null})
}
