//! The links between the host and its machines' namespaces, by rtnetlink. The invariant: what is here to be read is all
//! that says which machine has which addresses and ports, and the kernel removes it with the machine's namespace.
//!
//! | of the host's end | says |
//! |---|---|
//! | its name, `knaller7` | that the place is taken |
//! | its alias, `knaller INSTANCE NAME FOLDER` | by whom |
//! | its other names, `kn-tcp-8080` | which ports of the host lead there: no two interfaces can have one name |

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd as _};

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage, Prop};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteType};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::slot::{INTERFACE, Slot};
use crate::{Forward, Prefix, Protocol};

/// The machine's end, in its namespace.
pub(super) const INSIDE: &str = "eth0";

/// The most bytes of an alias (linux/if.h: IFALIASZ, with the zero at its end).
const MAX_ALIAS: usize = 255;

/// The kernel's table of what is local (linux/rtnetlink.h: RT_TABLE_LOCAL).
const TABLE_LOCAL: u32 = 255;

/// The loopback's index in every network namespace (Linux: net/core/dev.c has it registered first).
const LOOPBACK: u32 = 1;

/// What a route to the host's own `::1` by another interface costs at least: more than by its loopback (linux/ipv6_route.h:
/// IP6_RT_PRIO_ADDRCONF is 256). No two routes to one place may cost the same.
const AFTER_LOOPBACK: u32 = 4096;

/// A link of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    index: u32,
    pub(crate) interface: String,
    /// The machine's boot.
    pub(crate) instance: String,
    /// Its other names, by which ports are claimed.
    pub(super) claims: Vec<String>,
}

/// What the host's network has.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// Of all interfaces, those that are their second ones too.
    pub(super) names: Vec<String>,
    pub(super) ours: Vec<Link>,
    /// The other names of the loopback.
    pub(super) of_loopback: Vec<String>,
    /// Addresses and routes, without those that lead everywhere.
    pub(super) taken: Vec<Prefix>,
}

/// What to make.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) slot: Slot,
    pub(super) ipv6: bool,
    pub(super) forwards: &'a [Forward],
    pub(super) alias: String,
}

/// The name of the interface that a port of the host is claimed by.
pub(crate) fn claim(protocol: Protocol, port: u16) -> String {
    format!("kn-{protocol}-{port}")
}

/// As the kernel keeps it.
pub(super) fn alias(instance: &str, name: &str, folder: &str) -> String {
    let mut alias = format!("{INTERFACE} {instance} {name} {folder}");
    let end = (0..=MAX_ALIAS.min(alias.len()))
        .rev()
        .find(|at| alias.is_char_boundary(*at));
    alias.truncate(end.unwrap_or(0));
    alias
}

/// Does `work` in the network namespace that this thread is in.
pub(super) fn talk<T>(work: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        work(handle).await.map_err(plain)
    })
}

/// With the number that the kernel gave.
fn plain(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

pub(super) async fn present(handle: Handle) -> Result<Present, rtnetlink::Error> {
    let mut present = Present::default();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        let Some(name) = name else { continue };
        present.ours.extend(ours(&link, &name));
        let others: Vec<String> = link.attributes.iter().flat_map(other_names).cloned().collect();
        if link.header.index == LOOPBACK {
            present.of_loopback.clone_from(&others);
        }
        present.names.push(name);
        present.names.extend(others);
    }
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        let length = message.header.prefix_len;
        present
            .taken
            .extend(message.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(Prefix {
                    address: *address,
                    length,
                }),
                _ => None,
            }));
    }
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    for filter in [v4, v6] {
        let mut routes = handle.route().get(filter).execute();
        while let Some(route) = routes.try_next().await? {
            let length = route.header.destination_prefix_length;
            let to = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
                RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
                _ => None,
            });
            present.taken.extend(
                to.filter(|_| length > 0)
                    .map(|address| Prefix { address, length }),
            );
        }
    }
    Ok(present)
}

fn other_names(attribute: &LinkAttribute) -> impl Iterator<Item = &String> {
    let properties = match attribute {
        LinkAttribute::PropList(properties) => properties.as_slice(),
        _ => &[],
    };
    properties.iter().filter_map(|property| match property {
        Prop::AltIfName(name) => Some(name),
        _ => None,
    })
}

fn ours(link: &LinkMessage, name: &str) -> Option<Link> {
    let alias = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias),
        _ => None,
    })?;
    let mut words = alias.split(' ');
    let instance = words
        .next()
        .filter(|word| *word == INTERFACE)
        .and_then(|_| words.next())?;
    name.starts_with(INTERFACE).then(|| Link {
        index: link.header.index,
        interface: name.to_owned(),
        instance: instance.to_owned(),
        claims: link.attributes.iter().flat_map(other_names).cloned().collect(),
    })
}

/// The place of a link of ours.
pub(super) async fn slot(handle: Handle, link: &Link) -> Result<Slot, rtnetlink::Error> {
    let own = handle.address().get().set_link_index_filter(link.index);
    let mut addresses = own.execute();
    while let Some(message) = addresses.try_next().await? {
        let found = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V4(address)) => Slot::of(&link.interface, *address),
            _ => None,
        });
        if let Some(slot) = found {
            return Ok(slot);
        }
    }
    Err(rtnetlink::Error::RequestFailed)
}

/// Claims a port for a machine.
pub(super) async fn add_claim(handle: Handle, link: &Link, name: &str) -> Result<(), rtnetlink::Error> {
    let claimed = handle.link().property_add(link.index).alt_ifname(&[name]);
    claimed.execute().await
}

/// Gives them back.
pub(super) async fn drop_claims(
    handle: Handle,
    link: &Link,
    names: &[String],
) -> Result<(), rtnetlink::Error> {
    drop_names(&handle, link.index, names).await
}

/// Gives the loopback other names.
pub(super) async fn note(handle: Handle, names: &[String]) -> Result<(), rtnetlink::Error> {
    for name in names {
        let noted = handle.link().property_add(LOOPBACK).alt_ifname(&[name.as_str()]);
        noted.execute().await?;
    }
    Ok(())
}

/// Takes them away.
pub(super) async fn drop_notes(handle: Handle, names: &[String]) -> Result<(), rtnetlink::Error> {
    drop_names(&handle, LOOPBACK, names).await
}

async fn drop_names(handle: &Handle, index: u32, names: &[String]) -> Result<(), rtnetlink::Error> {
    for name in names {
        let dropped = handle.link().property_del(index).alt_ifname(&[name.as_str()]);
        dropped.execute().await?;
    }
    Ok(())
}

/// Makes a link whose other end is in `namespace`. Whoever is killed on the way leaves nothing: an end goes with its
/// namespace, and with it the other.
pub(super) async fn make(
    handle: Handle,
    namespace: impl AsFd,
    wanted: &Wanted<'_>,
) -> Result<(), rtnetlink::Error> {
    let slot = wanted.slot;
    let peer = LinkUnspec::new_with_name(INSIDE)
        .setns_by_fd(namespace.as_fd().as_raw_fd())
        .build();
    let veth = LinkVeth::new(&slot.interface(), INSIDE)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    handle.link().add(veth).execute().await?;
    let index = index_of(&handle, &slot.interface()).await?;
    let named = LinkUnspec::new_with_index(index).alias(&wanted.alias).build();
    handle.link().set(named).execute().await?;
    for forward in wanted.forwards {
        let name = claim(forward.protocol, forward.host_port);
        let claimed = handle.link().property_add(index).alt_ifname(&[&name]).execute();
        claimed.await?;
    }
    address(&handle, index, slot.host_v4().into(), Slot::LENGTH_V4).await?;
    if wanted.ipv6 {
        address(&handle, index, slot.host_v6().into(), Slot::LENGTH_V6).await?;
    }
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await?;
    if wanted.ipv6 {
        // What `route_localnet` is for IPv4: answers to the host's own ::1 come in here. Never chosen for anything else.
        let loopback = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(Ipv6Addr::LOCALHOST, 128)
            .output_interface(index)
            .table_id(TABLE_LOCAL)
            .kind(RouteType::Local)
            .priority(AFTER_LOOPBACK + slot.number())
            .build();
        handle.route().add(loopback).execute().await?;
    }
    Ok(())
}

/// The same link from within the namespace.
pub(super) async fn inside(handle: Handle, slot: Slot, ipv6: bool) -> Result<(), rtnetlink::Error> {
    for name in ["lo", INSIDE] {
        let index = index_of(&handle, name).await?;
        if name == INSIDE {
            address(&handle, index, slot.machine_v4().into(), Slot::LENGTH_V4).await?;
            if ipv6 {
                address(&handle, index, slot.machine_v6().into(), Slot::LENGTH_V6).await?;
            }
        }
        let up = LinkUnspec::new_with_index(index).up().build();
        handle.link().set(up).execute().await?;
    }
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::UNSPECIFIED, 0)
        .gateway(slot.host_v4());
    handle.route().add(v4.build()).execute().await?;
    if ipv6 {
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(Ipv6Addr::UNSPECIFIED, 0)
            .gateway(slot.host_v6());
        handle.route().add(v6.build()).execute().await?;
    }
    Ok(())
}

/// Removes a link of ours, both ends of it. One that is gone is as good.
pub(super) async fn remove(handle: Handle, link: &Link) -> Result<(), rtnetlink::Error> {
    match handle.link().del(link.index).execute().await {
        Err(rtnetlink::Error::NetlinkError(error)) if error.to_io().raw_os_error() == Some(libc::ENODEV) => {
            Ok(())
        }
        removed => removed,
    }
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?.ok_or(rtnetlink::Error::RequestFailed)?;
    Ok(link.header.index)
}

async fn address(handle: &Handle, index: u32, address: IpAddr, length: u8) -> Result<(), rtnetlink::Error> {
    let mut request = handle.address().add(index, address, length);
    if address.is_ipv6() {
        // Nobody else is on the link: without this the address is unusable for a second (RFC 4862, 5.4).
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        message
            .attributes
            .push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    request.execute().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_fits_and_names_the_boot() {
        let long = alias("0-1-2", "web", &"/ä".repeat(200));
        assert!(
            long.len() <= MAX_ALIAS && long.starts_with("knaller 0-1-2 web /ä"),
            "{long}"
        );
        let mut link = LinkMessage::default();
        assert_eq!(ours(&link, "knaller3"), None);
        link.attributes.push(LinkAttribute::IfAlias(long));
        assert_eq!(ours(&link, "knaller3").unwrap().instance, "0-1-2");
        assert_eq!(ours(&link, "eth0"), None);
    }

    #[test]
    fn a_claim_is_a_name_that_an_interface_can_have() {
        assert_eq!(claim(Protocol::Tcp, 8080), "kn-tcp-8080");
        // linux/if.h: IFNAMSIZ, with the zero at its end; longer ones cannot be asked for by everybody.
        assert!(claim(Protocol::Udp, u16::MAX).len() < 16);
    }
}
