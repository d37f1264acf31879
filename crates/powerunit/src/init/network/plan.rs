//! The config's network as values: pure parsing and ordering, no system call.

use std::net::IpAddr;

use guest_protocol::{Interface, Route};

/// The longest name of an interface, `IFNAMSIZ - 1` of linux/if.h.
const MAX_NAME: usize = 15;

/// The smallest MTU that IPv4 works with (RFC 791), and the largest a device can have.
const MTU: std::ops::RangeInclusive<u32> = 68..=65_535;

/// Text of the config that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("`{0}` is no address with its prefix length, such as 10.0.2.15/24 or fd00::2/64")]
    Prefix(String),
    #[error("the route to {destination} has a gateway of the other address family, {gateway}")]
    Gateway { destination: String, gateway: IpAddr },
    #[error("`{0}` is no name of an interface: 1 to 15 letters, digits, `-`, `_` or `.`")]
    Name(String),
    #[error("`{0}` is no MAC address, such as 06:00:ac:10:00:02")]
    Mac(String),
    #[error("an MTU of {0} is outside 68 to 65535")]
    Mtu(u32),
}

/// An address and how many of its leading bits name the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) address: IpAddr,
    pub(super) length: u8,
}

impl Prefix {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::Prefix(text.into());
        let (address, length) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let length = length.parse().map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if length > most {
            Err(invalid())
        } else {
            Ok(Self { address, length })
        }
    }

    /// The network's own address: all bits behind the prefix are zero.
    pub(super) fn network(self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        }
    }

    /// Whether `address` is in this network.
    pub(super) fn contains(self, address: IpAddr) -> bool {
        let same_family = self.address.is_ipv4() == address.is_ipv4();
        same_family && Self { address, ..self }.network() == self.network()
    }
}

/// A route to `destination` by way of `gateway`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) destination: Prefix,
    pub(super) gateway: IpAddr,
    /// The gateway is in no network of the interface: the kernel must be told that it can be reached all the same.
    pub(super) on_link: bool,
}

/// One interface, ready to be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) name: String,
    /// `None`: the first Ethernet device.
    pub(super) mac: Option<[u8; 6]>,
    pub(super) addresses: Vec<Prefix>,
    pub(super) ways: Vec<Way>,
    pub(super) mtu: Option<u32>,
}

impl Plan {
    pub(super) fn parse(interface: &Interface) -> Result<Self, Invalid> {
        let Interface {
            name,
            mac,
            addresses,
            routes,
            mtu,
        } = interface;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let dots = name.chars().all(|c| c == '.');
        if name.len() > MAX_NAME || dots || !name.chars().all(plain) {
            return Err(Invalid::Name(name.clone()));
        }
        if let Some(mtu) = mtu.filter(|mtu| !MTU.contains(mtu)) {
            return Err(Invalid::Mtu(mtu));
        }
        let mac = if mac.is_empty() {
            None
        } else {
            Some(parse_mac(mac)?)
        };
        let addresses = addresses
            .iter()
            .map(|text| Prefix::parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        let mut ways = routes
            .iter()
            .map(|route| way(route, &addresses))
            .collect::<Result<Vec<_>, _>>()?;
        // A gateway may itself be reached by a narrower route.
        ways.sort_by_key(|way| std::cmp::Reverse(way.destination.length));
        Ok(Self {
            name: name.clone(),
            mac,
            addresses,
            ways,
            mtu: *mtu,
        })
    }
}

fn way(route: &Route, addresses: &[Prefix]) -> Result<Way, Invalid> {
    let destination = Prefix::parse(&route.destination)?;
    let gateway = route.gateway;
    if destination.address.is_ipv4() != gateway.is_ipv4() {
        return Err(Invalid::Gateway {
            destination: route.destination.clone(),
            gateway,
        });
    }
    let link_local = matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local());
    let on_link = !link_local && !addresses.iter().any(|network| network.contains(gateway));
    Ok(Way {
        destination,
        gateway,
        on_link,
    })
}

/// Six bytes in hexadecimal, two digits each, between colons.
pub(super) fn parse_mac(text: &str) -> Result<[u8; 6], Invalid> {
    let invalid = || Invalid::Mac(text.into());
    let byte = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    };
    let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn interface(addresses: &[&str], routes: &[(&str, &str)]) -> Interface {
        let routes = routes.iter().map(|(destination, gateway)| Route {
            destination: (*destination).into(),
            gateway: gateway.parse().unwrap(),
        });
        Interface {
            name: "eth0".into(),
            mac: "06:00:ac:10:00:02".into(),
            addresses: addresses.iter().map(|text| (*text).into()).collect(),
            routes: routes.collect(),
            mtu: Some(1500),
        }
    }

    #[test]
    fn gateways_outside_every_network_are_on_link_and_narrow_routes_come_first() {
        let routes = [
            ("0.0.0.0/0", "10.0.2.1"),
            ("10.9.0.0/16", "192.168.7.1"),
            ("::/0", "fe80::1"),
        ];
        let plan = Plan::parse(&interface(
            &["10.0.2.15/30", "10.0.2.15/24", "fd00::2/64"],
            &routes,
        ))
        .unwrap();
        assert_eq!(plan.mac, Some([6, 0, 0xac, 0x10, 0, 2]));
        let ways: Vec<_> = plan
            .ways
            .iter()
            .map(|way| (way.gateway.to_string(), way.on_link))
            .collect();
        let expected = [("192.168.7.1", true), ("10.0.2.1", false), ("fe80::1", false)];
        assert_eq!(
            ways,
            expected.map(|(gateway, on_link)| (gateway.to_owned(), on_link))
        );
    }

    #[test]
    fn nonsense_is_named() {
        for text in ["10.0.0.1", "10.0.0.1/33", "::1/129", "/8", "ten/8", "10.0.0.1/-1"] {
            assert_eq!(
                Plan::parse(&interface(&[text], &[])),
                Err(Invalid::Prefix(text.into()))
            );
        }
        let mixed = Plan::parse(&interface(&[], &[("::/0", "10.0.0.1")]));
        assert!(matches!(mixed, Err(Invalid::Gateway { .. })));
        for name in ["", "..", "eth/0", "sixteen-letters-", "a b"] {
            let interface = Interface {
                name: name.into(),
                ..interface(&[], &[])
            };
            assert_eq!(Plan::parse(&interface), Err(Invalid::Name(name.into())));
        }
        for mac in [
            "06:00:ac:10:00",
            "06:00:ac:10:00:02:03",
            "+6:00:ac:10:00:02",
            "6:0:ac:10:0:2",
        ] {
            assert_eq!(parse_mac(mac), Err(Invalid::Mac(mac.into())));
        }
        let interface = Interface {
            mtu: Some(67),
            ..interface(&[], &[])
        };
        assert_eq!(Plan::parse(&interface), Err(Invalid::Mtu(67)));
    }

    proptest! {
        #[test]
        fn every_prefix_contains_itself(address in any::<u32>(), wide in any::<u128>(), length in 0u8..=32) {
            for (address, length) in [
                (IpAddr::V4(Ipv4Addr::from_bits(address)), length),
                (IpAddr::V6(Ipv6Addr::from_bits(wide)), length * 4),
            ] {
                let prefix = Prefix::parse(&format!("{address}/{length}")).unwrap();
                prop_assert_eq!(prefix, Prefix { address, length });
                prop_assert!(prefix.contains(address));
            }
        }

        #[test]
        fn a_flipped_bit_inside_the_prefix_leaves_the_network(address in any::<u32>(), length in 1u8..=32, bit in 0u8..32) {
            let prefix = Prefix { address: Ipv4Addr::from_bits(address).into(), length };
            let flipped = Ipv4Addr::from_bits(address ^ (1 << (31 - bit)));
            prop_assert_eq!(prefix.contains(flipped.into()), bit >= length);
        }

        #[test]
        fn foreign_text_never_panics(text in ".{0,40}") {
            let _ = (Prefix::parse(&text), parse_mac(&text));
        }
    }
}
