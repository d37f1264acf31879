//! A machine's egress policy as its start finds it: which addresses are private, and which its names have.

use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs as _};

use guest_protocol::Pin;

use super::dns;
use crate::netns::{Egress, Hole};
use crate::{EgressRule, Error, Prefix, Result};

/// The most addresses of one name that are pinned.
const MAX_ADDRESSES: usize = 32;

/// Of IPv4 (RFC 6890): this network, private, shared (carrier-grade NAT, and what some clouds serve metadata on), loopback,
/// link-local (with 169.254.169.254), protocol assignments, private, tests of networks, multicast, reserved (with broadcast).
const PRIVATE_V4: [Prefix; 11] = [
    Prefix::v4(0, 0, 0, 0, 8),
    Prefix::v4(10, 0, 0, 0, 8),
    Prefix::v4(100, 64, 0, 0, 10),
    Prefix::v4(127, 0, 0, 0, 8),
    Prefix::v4(169, 254, 0, 0, 16),
    Prefix::v4(172, 16, 0, 0, 12),
    Prefix::v4(192, 0, 0, 0, 24),
    Prefix::v4(192, 168, 0, 0, 16),
    Prefix::v4(198, 18, 0, 0, 15),
    Prefix::v4(224, 0, 0, 0, 4),
    Prefix::v4(240, 0, 0, 0, 4),
];

/// Of IPv6 (RFC 6890): unspecified, loopback and what holds IPv4 addresses as they are; the same mapped; local translation
/// (RFC 8215); tunnels that end at an IPv4 address (Teredo, 6to4); unique local (with fd00:ec2::254), link-local, site-local,
/// multicast.
const PRIVATE_V6: [Prefix; 9] = [
    Prefix::v6(0, 96),
    Prefix::v6(0xffff << 32, 96),
    Prefix::v6(0x0064_ff9b_0001 << 80, 48),
    Prefix::v6(0x2001_0000 << 96, 32),
    Prefix::v6(0x2002 << 112, 16),
    Prefix::v6(0xfc00 << 112, 7),
    Prefix::v6(0xfe80 << 112, 10),
    Prefix::v6(0xfec0 << 112, 10),
    Prefix::v6(0xff00 << 112, 8),
];

/// Where NAT64 has the world's IPv4 (RFC 6052): 64:ff9b::/96.
const NAT64: u128 = 0x0064_ff9b << 96;

/// Where clouds serve a machine's credentials: 169.254.169.254 and others of its prefix; fd00:ec2::254 (AWS).
const METADATA: [Prefix; 2] = [
    Prefix::v4(169, 254, 0, 0, 16),
    Prefix::v6(0xfd00_0ec2 << 96 | 0x254, 128),
];

/// Whether there is a metadata service of the host's in it.
pub(crate) fn is_metadata(prefix: Prefix) -> bool {
    METADATA.iter().any(|service| service.overlaps(prefix))
}

/// What a policy refuses unless it is told otherwise.
pub(crate) fn refused() -> Vec<Prefix> {
    let through_nat64 = PRIVATE_V4.iter().filter_map(|range| match range.address {
        IpAddr::V4(v4) => Some(Prefix {
            address: Ipv6Addr::from_bits(NAT64 | u128::from(v4.to_bits())).into(),
            length: 96 + range.length,
        }),
        IpAddr::V6(_) => None,
    });
    let own = PRIVATE_V4.iter().chain(&PRIVATE_V6).copied();
    own.chain(through_nat64).collect()
}

/// A policy whose names have addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) egress: Egress,
    pub(crate) pins: Vec<Pin>,
}

impl Resolved {
    /// Blocks while names are looked up, by the host's own means.
    pub(crate) fn new(rules: &[EgressRule], ipv6: bool) -> Result<Self> {
        let deny = rules.contains(&EgressRule::Deny);
        let mut resolved = Self::default();
        resolved.egress.deny = deny;
        if !deny {
            resolved.egress.servers = dns::of_host(ipv6).servers;
        }
        for rule in rules {
            match rule {
                EgressRule::Deny => {}
                EgressRule::Allow { prefix, port } => resolved.open(*prefix, *port),
                EgressRule::Name { name, port } => {
                    for address in look_up(name, ipv6)? {
                        resolved.open(Prefix::host(address), *port);
                        let pin = Pin {
                            name: name.clone(),
                            address,
                        };
                        if !resolved.pins.contains(&pin) {
                            resolved.pins.push(pin);
                        }
                    }
                }
            }
        }
        Ok(resolved)
    }

    fn open(&mut self, prefix: Prefix, port: Option<u16>) {
        self.egress.holes.push(Hole { prefix, port });
    }
}

fn look_up(name: &str, ipv6: bool) -> Result<Vec<IpAddr>> {
    let unknown = |reason: String| Error::UnknownHost {
        name: name.to_owned(),
        reason,
    };
    let found = (name, 0)
        .to_socket_addrs()
        .map_err(|error| unknown(error.to_string()))?;
    to_be_opened(found.map(|socket| socket.ip()).collect(), ipv6).map_err(|reason| unknown(reason.to_owned()))
}

/// Which of a name's addresses its rule opens.
fn to_be_opened(found: Vec<IpAddr>, ipv6: bool) -> std::result::Result<Vec<IpAddr>, &'static str> {
    // Whoever answers for a name says what it stands for; this host's credentials are not theirs to open.
    if found.iter().any(|address| is_metadata(Prefix::host(*address))) {
        return Err("none that a name may open: a metadata service is among them, and `allow=` opens that");
    }
    let mut addresses = Vec::new();
    for address in found {
        // What the guest has no way to, it is not to try.
        if (ipv6 || address.is_ipv4()) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    if addresses.is_empty() {
        return Err("it has no address that the machine could reach");
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_opens_what_it_stands_for_but_for_metadata_services() {
        let open = |texts: &[&str], ipv6| {
            to_be_opened(texts.iter().map(|text| text.parse().unwrap()).collect(), ipv6)
        };
        let public: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(
            open(&["192.0.2.1", "2001:db8::1", "192.0.2.1"], false),
            Ok(vec![public])
        );
        assert!(open(&["2001:db8::1"], false).unwrap_err().contains("no address"));
        for service in ["169.254.169.254", "169.254.170.2", "fd00:ec2::254"] {
            let refused = open(&["192.0.2.1", service], true);
            assert!(refused.unwrap_err().contains("metadata service"), "{service}");
        }
        assert!(open(&["fd00:ec2::253"], true).is_ok());
    }

    #[test]
    fn what_is_private_is_refused_and_what_is_public_is_not() {
        let closed = |text: &str| {
            let address = Prefix::host(text.parse().unwrap());
            refused().iter().any(|range| range.overlaps(address))
        };
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "224.0.0.251",
            "255.255.255.255",
            "::1",
            "::",
            "::10.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2002:a00:1::1",
        ] {
            assert!(closed(address), "{address}");
        }
        for address in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.1",
            "203.0.113.1",
            "2001:4860:4860::8888",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(!closed(address), "{address}");
        }
    }

    #[test]
    fn a_name_opens_the_addresses_that_it_has() {
        let rules = ["dns=localhost:80".parse().unwrap(), EgressRule::Deny];
        let resolved = Resolved::new(&rules, false).unwrap();
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(resolved.egress.deny && resolved.egress.servers.is_empty());
        assert_eq!(
            resolved.egress.holes,
            [Hole {
                prefix: Prefix::host(loopback),
                port: Some(80)
            }]
        );
        assert_eq!(resolved.pins.len(), 1);
        let unknown = Resolved::new(&["dns=nowhere.invalid".parse().unwrap()], false).unwrap_err();
        assert!(matches!(unknown, Error::UnknownHost { .. }), "{unknown}");
    }
}
