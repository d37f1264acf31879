//! Places for machines on the host's side: a number, and with it an interface's name and two addresses of each family.
//! The invariant: a place is free if the kernel has no interface of its name and no address or route that overlaps it;
//! nothing else says which are taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::Prefix;

/// What the interfaces' names begin with; a number follows.
pub(crate) const INTERFACE: &str = "knaller";

/// The addresses that machines are given where none are named: the first of these that has room. In corners of the
/// private ranges (RFC 1918) and of the one for tests of networks (RFC 2544), away from [`crate::network::addresses`].
const POOLS: [Pool; 3] = [
    Pool::new(Ipv4Addr::new(10, 255, 0, 0), 17),
    Pool::new(Ipv4Addr::new(192, 168, 240, 0), 20),
    Pool::new(Ipv4Addr::new(198, 18, 128, 0), 17),
];

/// A unique local prefix (RFC 4193) that spells `knaller`, next to the guests'; two addresses of each place follow.
const POOL_V6: Ipv6Addr = Ipv6Addr::new(0xfd6b, 0x6e61, 0x6c6c, 0x6574, 0, 0, 0, 0);

/// The most places: what the name of an interface, of at most 15 bytes, and the kernel bear.
const MOST: u32 = 1 << 14;

/// IPv4 addresses for the links to machines: two each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    first: Ipv4Addr,
    length: u8,
}

impl Pool {
    const fn new(first: Ipv4Addr, length: u8) -> Self {
        Self { first, length }
    }

    fn places(self) -> u32 {
        1 << (31 - self.length).min(14)
    }
}

impl FromStr for Pool {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<Prefix>()? {
            Prefix {
                address: IpAddr::V4(first),
                length: length @ 8..=31,
            } => Ok(Self { first, length }),
            _ => Err("a pool is an IPv4 prefix of 8 to 31 bits"),
        }
    }
}

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    number: u32,
    /// The host's address of IPv4; the machine's is the next.
    v4: Ipv4Addr,
}

impl Slot {
    /// Both addresses of IPv4: RFC 3021.
    pub(crate) const LENGTH_V4: u8 = 31;
    /// Both addresses of IPv6: RFC 6164.
    pub(crate) const LENGTH_V6: u8 = 127;

    /// The one of an interface and the host's address on it.
    pub(crate) fn of(interface: &str, host: Ipv4Addr) -> Option<Self> {
        let number = interface.strip_prefix(INTERFACE)?.parse().ok()?;
        Some(Self { number, v4: host })
    }

    pub(crate) fn number(self) -> u32 {
        self.number
    }

    pub(crate) fn interface(self) -> String {
        format!("{INTERFACE}{}", self.number)
    }

    pub(crate) fn host_v4(self) -> Ipv4Addr {
        self.v4
    }

    pub(crate) fn machine_v4(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.v4.to_bits() | 1)
    }

    pub(crate) fn host_v6(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(POOL_V6.to_bits() | u128::from(self.number) << 1)
    }

    pub(crate) fn machine_v6(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.host_v6().to_bits() | 1)
    }

    fn is_free(self, names: &[&str], taken: &[Prefix]) -> bool {
        let own = [
            Prefix {
                address: self.v4.into(),
                length: Self::LENGTH_V4,
            },
            Prefix {
                address: self.host_v6().into(),
                length: Self::LENGTH_V6,
            },
        ];
        !names.contains(&self.interface().as_str())
            && !own
                .iter()
                .any(|own| taken.iter().any(|taken| own.overlaps(*taken)))
    }
}

/// The first place that is free. `names` are the host's interfaces, `taken` its addresses and routes but for those that lead
/// everywhere.
pub(crate) fn find(pool: Option<Pool>, names: &[&str], taken: &[Prefix]) -> Option<Slot> {
    let pools = pool.map_or(POOLS.to_vec(), |pool| vec![pool]);
    pools.into_iter().find_map(|pool| {
        (0..pool.places().min(MOST))
            .map(|number| Slot {
                number,
                v4: Ipv4Addr::from_bits(pool.first.to_bits() + 2 * number),
            })
            .find(|slot| slot.is_free(names, taken))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_first_that_is_free_is_taken() {
        let slot = find(None, &[], &[]).unwrap();
        assert_eq!(slot.interface(), "knaller0");
        assert_eq!(slot.host_v4().to_string(), "10.255.0.0");
        assert_eq!(slot.machine_v4().to_string(), "10.255.0.1");
        assert_eq!(slot.host_v6().to_string(), "fd6b:6e61:6c6c:6574::");
        assert_eq!(slot.machine_v6().to_string(), "fd6b:6e61:6c6c:6574::1");
        let second = find(
            None,
            &["knaller0"],
            &prefixes(&["10.255.0.2", "fd6b:6e61:6c6c:6574::4/127"]),
        )
        .unwrap();
        assert_eq!(second.interface(), "knaller3");
        assert_eq!(second.machine_v4().to_string(), "10.255.0.7");
        assert_eq!(second.machine_v6().to_string(), "fd6b:6e61:6c6c:6574::7");
    }

    #[test]
    fn what_the_host_reaches_otherwise_is_left_to_it() {
        let slot = find(None, &[], &prefixes(&["10.0.0.0/8"])).unwrap();
        assert_eq!(slot.host_v4().to_string(), "192.168.240.0");
        let all = prefixes(&["10.0.0.0/8", "192.168.0.0/16", "198.18.0.0/15"]);
        assert_eq!(find(None, &[], &all), None);
        let own: Pool = "172.20.0.0/30".parse().unwrap();
        assert_eq!(
            find(Some(own), &[], &all).unwrap().host_v4().to_string(),
            "172.20.0.0"
        );
        let one_left = find(Some(own), &["knaller0"], &all).unwrap();
        assert_eq!(one_left.machine_v4().to_string(), "172.20.0.3");
        assert_eq!(find(Some(own), &["knaller0", "knaller1"], &all), None);
    }

    #[test]
    fn a_pool_is_of_ipv4() {
        for text in ["", "10.0.0.0/7", "10.0.0.0", "fd00::/64", "10.0.0.1/24"] {
            text.parse::<Pool>().unwrap_err();
        }
    }
}
