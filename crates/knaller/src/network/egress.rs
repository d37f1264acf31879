//! A machine's egress policy as its start finds it: which addresses are private, and which its names have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};

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

/// How else IPv6 has the world's IPv4, each with where the address begins, in bits: mapped (RFC 4291, 2.5.5.2), compatible
/// (2.5.5.1), NAT64 (RFC 6052) and its local prefix (RFC 8215) as most use it, 6to4 (RFC 3056).
const IPV4_IN_IPV6: [(Prefix, u8); 5] = [
    (Prefix::v6(0xffff << 32, 96), 96),
    (Prefix::v6(0, 96), 96),
    (Prefix::v6(NAT64, 96), 96),
    (Prefix::v6(0x0064_ff9b_0001 << 80, 96), 96),
    (Prefix::v6(0x2002 << 112, 16), 16),
];

/// Where clouds serve a machine's credentials: 169.254.169.254 (AWS, Azure, Google Cloud and most others) and others of its
/// prefix (169.254.170.2 of AWS's containers), 100.100.100.200 (Alibaba Cloud); fd00:ec2::254 (AWS), fd20:ce::254 (Google
/// Cloud).
const METADATA: [Prefix; 4] = [
    Prefix::v4(169, 254, 0, 0, 16),
    Prefix::v4(100, 100, 100, 200, 32),
    Prefix::v6(0xfd00_0ec2 << 96 | 0x254, 128),
    Prefix::v6(0xfd20_00ce << 96 | 0x254, 128),
];

/// Azure's platform, at a public address: it gives a machine its certificates and settings, and is its name server too
/// (learn.microsoft.com, "What is IP address 168.63.129.16?").
pub(crate) const PLATFORM: Prefix = Prefix::v4(168, 63, 129, 16, 32);

/// Whether there is a metadata service of the host's in it, by whatever address it may be reached.
pub(crate) fn is_metadata(prefix: Prefix) -> bool {
    let services = || METADATA.into_iter().chain([PLATFORM]);
    let has = |prefix| services().any(|service| service.overlaps(prefix));
    has(prefix)
        || IPV4_IN_IPV6
            .into_iter()
            .any(|(form, at)| within(prefix, form, at).is_some_and(has))
}

/// The IPv4 addresses that a prefix of IPv6 has in one form.
fn within(prefix: Prefix, form: Prefix, at: u8) -> Option<Prefix> {
    let IpAddr::V6(v6) = prefix.address else {
        return None;
    };
    form.overlaps(prefix).then(|| {
        let bits = (v6.to_bits() >> (96 - at)) & u128::from(u32::MAX);
        Prefix {
            address: Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or_default()).into(),
            length: prefix.length.saturating_sub(at).min(32),
        }
    })
}

/// The same addresses behind NAT64; none of an IPv6 one's.
fn through_nat64(range: &Prefix) -> Option<Prefix> {
    match range.address {
        IpAddr::V4(v4) => Some(Prefix {
            address: Ipv6Addr::from_bits(NAT64 | u128::from(v4.to_bits())).into(),
            length: 96 + range.length,
        }),
        IpAddr::V6(_) => None,
    }
}

/// Metadata services, and the ways to them, that no machine without a policy reaches. Not [`PLATFORM`].
pub(crate) fn metadata() -> Vec<Prefix> {
    let behind = METADATA.iter().filter_map(through_nat64);
    METADATA.into_iter().chain(behind).collect()
}

/// What a policy refuses unless it is told otherwise.
pub(crate) fn refused() -> Vec<Prefix> {
    let v4 = || PRIVATE_V4.iter().chain([&PLATFORM]);
    let behind = v4().filter_map(through_nat64);
    v4().chain(&PRIVATE_V6).copied().chain(behind).collect()
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
        for service in [
            "169.254.169.254",
            "169.254.170.2",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "fd20:ce::254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b::100.100.100.200",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "64:ff9b::168.63.129.16",
        ] {
            let refused = open(&["192.0.2.1", service], true);
            assert!(refused.unwrap_err().contains("metadata service"), "{service}");
        }
        for other in [
            "fd00:ec2::253",
            "fd20:ce::253",
            "168.63.129.17",
            "100.100.100.201",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(open(&[other], true).is_ok(), "{other}");
        }
    }

    #[test]
    fn a_range_has_the_services_that_it_holds_in_any_form() {
        let holds = |text: &str| is_metadata(text.parse().unwrap());
        for range in [
            "::/0",
            "0.0.0.0/0",
            "64:ff9b::/96",
            "64:ff9b::a900:0/104",
            "64:ff00::/24",
            "2002::/16",
            "2002:a9fe::/32",
            "100.64.0.0/10",
            "168.0.0.0/8",
            "fd20::/16",
        ] {
            assert!(holds(range), "{range}");
        }
        for range in [
            "2001:db8::/32",
            "64:ff9b::800:0/104",
            "2002:800::/24",
            "10.0.0.0/8",
            "fd21::/16",
        ] {
            assert!(!holds(range), "{range}");
        }
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
            "100.100.100.200",
            "fd20:ce::254",
            "168.63.129.16",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::168.63.129.16",
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
