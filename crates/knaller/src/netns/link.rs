//! Addresses and routes of the TAP device, by rtnetlink.

use std::net::{IpAddr, Ipv6Addr};

use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::Error;
use crate::network::addresses::{GATEWAY_V4, GATEWAY_V6, PREFIX_V4, PREFIX_V6, TAP, TAP_MAC};

/// The kernel's table of what is local (linux/rtnetlink.h: RT_TABLE_LOCAL).
const TABLE_LOCAL: u32 = 255;

/// Gives the TAP device its MAC and addresses and brings it up.
pub(super) fn configure(ipv6: bool) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|e| Error::new("runtime")(&e))?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| Error::new("netlink")(&e))?;
        tokio::spawn(connection);
        set_up(&handle, ipv6)
            .await
            .map_err(|e| Error::new("addresses")(&e))
    })
}

async fn set_up(handle: &Handle, ipv6: bool) -> Result<(), rtnetlink::Error> {
    let index = index_of(handle).await?;
    let up = LinkUnspec::new_with_index(index)
        .address(TAP_MAC.to_vec())
        .up()
        .build();
    handle.link().set(up).execute().await?;
    handle
        .address()
        .add(index, IpAddr::V4(GATEWAY_V4), PREFIX_V4)
        .execute()
        .await?;
    if ipv6 {
        add_ipv6(handle, index).await?;
    }
    Ok(())
}

async fn index_of(handle: &Handle) -> Result<u32, rtnetlink::Error> {
    use futures_util::TryStreamExt as _;

    let mut links = handle.link().get().match_name(TAP.to_owned()).execute();
    let link = links.try_next().await?.ok_or(rtnetlink::Error::RequestFailed)?;
    debug_assert!(
        link.attributes
            .iter()
            .any(|a| matches!(a, LinkAttribute::IfName(name) if name == TAP))
    );
    Ok(link.header.index)
}

async fn add_ipv6(handle: &Handle, index: u32) -> Result<(), rtnetlink::Error> {
    let mut address = handle.address().add(index, IpAddr::V6(GATEWAY_V6), PREFIX_V6);
    // Nobody else is on the link: without this the address is unusable for a second (RFC 4862, 5.4).
    address.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    address
        .message_mut()
        .attributes
        .push(AddressAttribute::Flags(AddressFlags::Nodad));
    address.execute().await?;
    // What `route_localnet` is for IPv4. Connections that pasta makes to ::1 in here are sent to the guest by DNAT;
    // the answers come in by the TAP and are translated back to ::1, which IPv6 routes strictly by interface (Linux:
    // rt6_need_strict), so that ::1 must be local on this one too.
    let loopback = RouteMessageBuilder::<Ipv6Addr>::new()
        .destination_prefix(Ipv6Addr::LOCALHOST, 128)
        .output_interface(index)
        .table_id(TABLE_LOCAL)
        .kind(RouteType::Local)
        .build();
    handle.route().add(loopback).execute().await
}
