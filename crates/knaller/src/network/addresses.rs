//! The constants of a machine's network. Every machine has a network namespace of its own, so all of them can have the
//! same: a snapshot restores anywhere, and a guest's neighbour cache stays right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Mac;

/// The TAP device between the namespace and the guest.
pub(crate) const TAP: &str = "knaller0";

/// The namespace's side of the link; locally administered.
pub(crate) const TAP_MAC: [u8; 6] = [0xaa, 0xfc, 0x01, 0, 0, 0];

/// The guest's side of the link; locally administered, unicast.
pub(crate) const GUEST_MAC: Mac = Mac::new([0xaa, 0xfc, 0, 0, 0, 0x01]);

/// The guest's gateway: the end of 10/8, where private networks seldom are, since the guest cannot reach what it hides.
pub(crate) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 253);

pub(crate) const GUEST_V4: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 254);

/// Length of the prefix that both share.
pub(crate) const PREFIX_V4: u8 = 30;

/// A unique local prefix (RFC 4193) that spells `knaller`.
pub(crate) const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd6b, 0x6e61, 0x6c6c, 0x6572, 0, 0, 0, 1);

pub(crate) const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd6b, 0x6e61, 0x6c6c, 0x6572, 0, 0, 0, 2);

/// Length of the prefix that both share.
pub(crate) const PREFIX_V6: u8 = 64;

/// The namespace's own address on pasta's link, and its gateway there. Not the host's, which pasta would copy: packets
/// that the host sends to itself by its outer address would then seem to come from the namespace itself. The 2023-03
/// version gives them its gateway's address (IPv4), from which UDP answers do not find back without `--map-gw`, or a
/// link-local one (IPv6), which no kernel forwards.
pub(crate) const NAMESPACE_V4: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 249);
pub(crate) const PASTA_V4: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 250);

/// As dotted decimals, which every version of pasta takes: 30 bits.
pub(crate) const NETMASK_V4: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 252);

/// The same in the prefix next to the guest's; pasta's prefixes always have 64 bits.
pub(crate) const NAMESPACE_V6: Ipv6Addr = Ipv6Addr::new(0xfd6b, 0x6e61, 0x6c6c, 0x6573, 0, 0, 0, 2);
pub(crate) const PASTA_V6: Ipv6Addr = Ipv6Addr::new(0xfd6b, 0x6e61, 0x6c6c, 0x6573, 0, 0, 0, 1);

/// The guest's addresses, as [`crate::MachineInfo`] tells them.
pub(crate) fn guest(ipv6: bool) -> Vec<IpAddr> {
    let v6 = ipv6.then_some(IpAddr::V6(GUEST_V6));
    [IpAddr::V4(GUEST_V4)].into_iter().chain(v6).collect()
}
