//! The guest's name servers: the host's real upstreams. Never a stub on the host's loopback, which the guest cannot reach.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// What a guest's `/etc/resolv.conf` is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    pub(crate) servers: Vec<IpAddr>,
    pub(crate) search: Vec<String>,
}

/// Where hosts say their servers: resolv.conf(5); where that names a local stub, the files in which systemd-resolved and
/// NetworkManager keep the upstreams behind it (what `resolvectl dns` shows, without a process and a D-Bus call).
const FILES: [&str; 3] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];

/// What is left to a host that names no server at all.
const PUBLIC: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
];

/// The most servers and search domains that a C library uses (resolv.conf(5): MAXNS; 6 domains before glibc 2.26).
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 6;

/// Asks the host's files.
pub(crate) fn of_host(ipv6: bool) -> Resolver {
    choose(
        FILES
            .iter()
            .map(|file| std::fs::read_to_string(Path::new(file)).unwrap_or_default()),
        ipv6,
    )
}

fn choose(files: impl Iterator<Item = String>, ipv6: bool) -> Resolver {
    let mut search = Vec::new();
    for file in files {
        let found = parse(&file, ipv6);
        if search.is_empty() {
            search.clone_from(&found.search);
        }
        if !found.servers.is_empty() {
            return Resolver {
                servers: found.servers,
                search,
            };
        }
    }
    Resolver {
        servers: PUBLIC.to_vec(),
        search,
    }
}

pub(crate) fn parse(file: &str, ipv6: bool) -> Resolver {
    let mut found = Resolver::default();
    for line in file.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => found
                .servers
                .extend(words.next().and_then(|text| server(text, ipv6))),
            // The last of several lines counts.
            Some("search") => found.search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    found.servers.truncate(MAX_SERVERS);
    found.search.retain(|domain| domain != ".");
    found.search.truncate(MAX_SEARCH);
    found
}

/// A server that the guest can reach. An address with a zone (`fe80::1%eth0`) is of the host's own link.
fn server(text: &str, ipv6: bool) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    let reachable = match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified() && !v4.is_link_local(),
        IpAddr::V6(v6) => ipv6 && !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local(),
    };
    reachable.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(files: &[&str], ipv6: bool) -> (Vec<String>, Vec<String>) {
        let resolver = choose(files.iter().map(ToString::to_string), ipv6);
        (
            resolver.servers.iter().map(ToString::to_string).collect(),
            resolver.search,
        )
    }

    #[test]
    fn stubs_lead_to_the_upstreams_behind_them() {
        let stub = "nameserver 127.0.0.53\noptions edns0\nsearch lan example.org\n";
        let upstream =
            "# a comment\nnameserver 10.0.0.1\nnameserver fd00::1\nnameserver fe80::1%eth0\nsearch other\n";
        let search = vec!["lan".to_owned(), "example.org".to_owned()];
        assert_eq!(
            from(&[stub, upstream], false),
            (vec!["10.0.0.1".to_owned()], search.clone())
        );
        let both = vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()];
        assert_eq!(from(&[stub, upstream], true), (both, search));
    }

    #[test]
    fn a_host_without_servers_gets_public_ones() {
        let public = vec!["1.1.1.1".to_owned(), "8.8.8.8".to_owned()];
        assert_eq!(
            from(&["nameserver ::1\nnameserver 0.0.0.0\nnameserver x\n", ""], true).0,
            public
        );
    }

    #[test]
    fn limits_are_those_of_the_c_library() {
        let many: String = (1..9).map(|n| format!("nameserver 10.0.0.{n}\n")).collect();
        assert_eq!(from(&[&many], false).0.len(), 3);
    }
}
