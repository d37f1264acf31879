//! The host's own addresses: what it serves on them is not for its guests, as little as what it serves on its loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More than a host has; the helper is told of them in one argument, which ends at 128 KiB (execve(2)).
const MOST: usize = 1024;

/// Of this network namespace, now.
pub(crate) fn of_host() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let v4 = local_v4(&read("/proc/thread-self/net/fib_trie"));
    let v6 = local_v6(&read("/proc/thread-self/net/if_inet6"));
    v4.into_iter().chain(v6).take(MOST).collect()
}

/// Linux, net/ipv4/fib_trie.c (fib_trie_seq_show): a leaf is `|-- ADDRESS` and below it `/LENGTH SCOPE TYPE`. It is there
/// once for each table that leads to it.
fn local_v4(table: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut leaf = None;
    for line in table.lines() {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf.filter(|address| !address.is_loopback()).map(IpAddr::V4));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Linux, net/ipv6/addrconf.c (if6_seq_show): the address in hexadecimal, interface, prefix length, scope, flags, name.
/// Link-local ones are for a link that no guest is on.
fn local_v6(table: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let bits = u128::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
        Some(Ipv6Addr::from_bits(bits))
    };
    let outer = |address: &Ipv6Addr| !address.is_loopback() && !address.is_unicast_link_local();
    table
        .lines()
        .filter_map(address)
        .filter(outer)
        .map(IpAddr::V6)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4() {
        let table = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n        +-- 127.0.0.0/31 1 0 0\n           \
                     |-- 127.0.0.1\n              /32 host LOCAL\n           |-- 203.0.113.2\n              /32 host LOCAL\n        \
                     |-- 203.0.113.255\n           /32 link BROADCAST\nMain:\n           |-- 203.0.113.2\n              /32 host LOCAL\n";
        assert_eq!(local_v4(table), [IpAddr::from([203, 0, 113, 2])]);
        assert!(local_v4("|-- x\n/32 host LOCAL\n").is_empty());
    }

    #[test]
    fn ipv6() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n\
                     fd000000000000000000000000000002 04 40 00 82     eth0\ngarbage\n\n";
        let own: IpAddr = "fd00::2".parse().unwrap();
        assert_eq!(local_v6(table), [own]);
    }
}
