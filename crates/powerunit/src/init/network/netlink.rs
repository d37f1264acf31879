//! A synchronous conversation with the kernel's routing netlink, rtnetlink(7): a request, and its acknowledgement.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily as Family, RouteNetlinkMessage};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Error;
use super::plan::{Plan, Prefix, Way};

/// One change, and its description for the error it may end in.
#[derive(Debug)]
pub(super) struct Request {
    action: String,
    message: RouteNetlinkMessage,
}

impl Request {
    /// The request that takes back what this one adds.
    fn undone(self) -> Self {
        let message = match self.message {
            RouteNetlinkMessage::NewAddress(message) => RouteNetlinkMessage::DelAddress(message),
            RouteNetlinkMessage::NewRoute(message) => RouteNetlinkMessage::DelRoute(message),
            other => other,
        };
        let action = format!("take back: {}", self.action);
        Self { action, message }
    }
}

/// The open conversation.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open() -> Result<Self, Error> {
        let open = || {
            // Protocol 0 of this family is NETLINK_ROUTE.
            let flags = SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
            Ok(socket)
        };
        open()
            .map(Self)
            .map_err(|e: rustix::io::Errno| Error::Open(e.into()))
    }

    /// Makes the change. It is in force when this returns.
    pub(super) fn make(&self, request: Request) -> Result<(), Error> {
        let Request { action, message } = request;
        self.exchange(message)
            .map_err(|source| Error::Refused { action, source })
    }

    fn exchange(&self, message: RouteNetlinkMessage) -> std::io::Result<()> {
        let flags = match &message {
            RouteNetlinkMessage::DelAddress(_) | RouteNetlinkMessage::DelRoute(_) => 0,
            _ => NLM_F_CREATE | NLM_F_REPLACE,
        };
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        // An acknowledgement repeats the request's header; an error, the whole request.
        let mut answer = vec![0; bytes.len() + 64];
        let (length, _) = rustix::net::recv(&self.0, answer.as_mut_slice(), RecvFlags::empty())?;
        let answer = answer.get(..length).unwrap_or_default();
        let answer = NetlinkMessage::<Unread>::deserialize(answer).map_err(std::io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            NetlinkPayload::Error(_) => Ok(()),
            _ => Err(std::io::Error::other(
                "the kernel answered something else than an acknowledgement",
            )),
        }
    }
}

/// The body of a message that is none of ours to read.
#[derive(Debug)]
struct Unread;

impl NetlinkDeserializable for Unread {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, _: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// Brings the device `index` up as it is.
pub(super) fn up(index: u32, name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    (message.header.flags, message.header.change_mask) = (LinkFlags::Up, LinkFlags::Up);
    Request {
        action: format!("bring {name} up"),
        message: RouteNetlinkMessage::SetLink(message),
    }
}

/// Gives the device `index` another MAC address. It is down for that: what it had because of the old one, IPv6's link-local
/// address before all, is made anew with the new one.
pub(super) fn readdress(index: u32, name: &str, mac: [u8; 6]) -> [Request; 2] {
    let mut down = up(index, name);
    if let RouteNetlinkMessage::SetLink(message) = &mut down.message {
        message.header.flags = LinkFlags::empty();
    }
    down.action = format!("bring {name} down");
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Address(mac.into()));
    let change = Request {
        action: format!("change the MAC address of {name}"),
        message: RouteNetlinkMessage::SetLink(message),
    };
    [down, change]
}

/// Everything that takes from the device `index` what it had by `before` and is not to have by `after`, in order.
pub(super) fn removals(index: u32, name: &str, before: Option<&Plan>, after: &Plan) -> Vec<Request> {
    let ways = before.into_iter().flat_map(|before| &before.ways);
    let ways = ways.filter(|way| !after.ways.contains(way));
    let ways = ways.map(|way| route(index, name, *way));
    let addresses = before.into_iter().flat_map(|before| &before.addresses);
    let addresses = addresses.filter(|prefix| !after.addresses.contains(prefix));
    let addresses = addresses.map(|prefix| address(index, name, *prefix));
    ways.chain(addresses).map(Request::undone).collect()
}

/// Everything that turns the device `index`, now called `present`, into the planned interface, in order.
pub(super) fn requests(index: u32, present: &str, plan: &Plan) -> Vec<Request> {
    let name = plan.name.as_str();
    let mut requests = Vec::new();
    let mut set = |attribute, action| {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(attribute);
        requests.push(Request {
            action,
            message: RouteNetlinkMessage::SetLink(message),
        });
    };
    if present != name {
        set(
            LinkAttribute::IfName(name.into()),
            format!("rename {present} to {name}"),
        );
    }
    if let Some(mtu) = plan.mtu {
        set(LinkAttribute::Mtu(mtu), format!("set the MTU of {name} to {mtu}"));
    }
    requests.push(up(index, name));
    requests.extend(plan.addresses.iter().map(|prefix| address(index, name, *prefix)));
    requests.extend(plan.ways.iter().map(|way| route(index, name, *way)));
    requests
}

fn address(index: u32, name: &str, prefix: Prefix) -> Request {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = prefix.length;
    message.header.family = family(prefix.address);
    message.attributes.push(AddressAttribute::Local(prefix.address));
    message.attributes.push(AddressAttribute::Address(prefix.address));
    match prefix.address {
        IpAddr::V4(address) if prefix.length < 31 => {
            let host_bits = u32::MAX.checked_shr(prefix.length.into()).unwrap_or(0);
            let broadcast = address.to_bits() | host_bits;
            message
                .attributes
                .push(AddressAttribute::Broadcast(broadcast.into()));
        }
        IpAddr::V4(_) => {}
        // The host gave the address to this guest alone: no second is spent on asking the network for duplicates.
        IpAddr::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    let action = format!("give {name} the address {}/{}", prefix.address, prefix.length);
    Request {
        action,
        message: RouteNetlinkMessage::NewAddress(message),
    }
}

fn route(index: u32, name: &str, way: Way) -> Request {
    let Way {
        destination,
        gateway,
        on_link,
    } = way;
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.destination_prefix_length = destination.length;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    if on_link {
        message.header.flags = RouteFlags::Onlink;
    }
    if destination.length > 0 {
        let network = RouteAddress::from(destination.network());
        message.attributes.push(RouteAttribute::Destination(network));
    }
    message.attributes.push(RouteAttribute::Gateway(gateway.into()));
    message.attributes.push(RouteAttribute::Oif(index));
    let action = format!(
        "route {}/{} through {gateway} on {name}",
        destination.address, destination.length
    );
    Request {
        action,
        message: RouteNetlinkMessage::NewRoute(message),
    }
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() {
        Family::Inet
    } else {
        Family::Inet6
    }
}
