//! The metadata service towards one network interface of the guest: ARP, IPv4, TCP and HTTP in this process.
//!
//! Invariants:
//! - every ARP or IPv4 frame for the service's address belongs to it ([`Stack::claims`]), whatever else is in the frame
//!   and whomever it is sent to on the Ethernet: none may reach the host's network;
//! - at most [`CONNECTIONS`] connections;
//! - nothing is done but in [`Stack::receive`] and [`Stack::poll`], with the time given to them.

mod link;
mod server;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use self::link::{Link, MAX_FRAMES};
use self::server::Server;
use super::Mmds;
use super::http::MAX_REQUEST;

/// The service's Ethernet address, as in Firecracker.
const MAC: [u8; 6] = [0x06, 0x01, 0x23, 0x45, 0x67, 0x01];
const PORT: u16 = 80;
/// Connections at once, as in Firecracker.
const CONNECTIONS: usize = 30;
/// A connection that was silent for this long makes room for a new one.
const IDLE: Duration = Duration::from_secs(10);
/// Bytes of a response on their way at once.
const SEND_BUFFER: usize = 8 * 1024;
/// How long an address of the guest's is believed to stay where it was seen.
const NEIGHBOUR: Duration = Duration::from_secs(30);

const ETHERNET_HEADER: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];

/// See the [module](self).
pub(crate) struct Stack {
    mmds: Mmds,
    address: Ipv4Addr,
    interface: Interface,
    link: Link,
    sockets: SocketSet<'static>,
    servers: Vec<Server>,
    start: Instant,
    /// Where the last packet came from, and when the stack was told.
    neighbour: Option<([u8; 6], [u8; 4], Instant)>,
}

impl Stack {
    /// A stack that answers at `address`, in frames of at most `mtu` bytes of payload.
    pub(crate) fn new(mmds: Mmds, address: Ipv4Addr, mtu: u16, now: Instant) -> Self {
        let mut link = Link {
            mtu: usize::from(mtu),
            ..Link::default()
        };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(MAC)));
        let mut seed = [0; 8];
        // Guessable sequence numbers would only let the guest forge packets to itself.
        let _ = getrandom(&mut seed, GetRandomFlags::empty());
        config.random_seed = u64::from_ne_bytes(seed);
        let mut interface = Interface::new(config, &mut link, StackInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // Whatever address the guest has is a neighbour: there is no router between.
            let _ = addresses.push(IpCidr::new(address.into(), 0));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let servers = (0..CONNECTIONS)
            .map(|_| {
                let receive = SocketBuffer::new(vec![0; MAX_REQUEST + 1]);
                let send = SocketBuffer::new(vec![0; SEND_BUFFER]);
                let mut socket = Socket::new(receive, send);
                // The guest asks and waits: there is nothing to collect.
                socket.set_nagle_enabled(false);
                Server::new(sockets.add(socket), now)
            })
            .collect();
        Self {
            mmds,
            address,
            interface,
            link,
            sockets,
            servers,
            start: now,
            neighbour: None,
        }
    }

    /// Whether a frame of the guest is for the service.
    pub(crate) fn claims(&self, frame: &[u8]) -> bool {
        let target = match frame.get(12..14) {
            Some(kind) if kind == IPV4 => frame.get(30..34),
            Some(kind) if kind == ARP => frame.get(38..42),
            _ => None,
        };
        target == Some(&self.address.octets())
    }

    /// Takes a frame for the service. [`Stack::poll`] is to be called soon.
    pub(crate) fn receive(&mut self, frame: &[u8], now: Instant) {
        let metrics = self.mmds.metrics();
        metrics.rx_accepted.add(1);
        // A guest that asks and does not listen would have its answers pile up: it may ask again.
        if self.link.sending.len() >= MAX_FRAMES {
            return;
        }
        let mut frame = frame.to_vec();
        // Whoever the guest takes for the next hop: the frame is ours.
        if frame.get(12..14) == Some(&IPV4) {
            let is_tcp = frame.get(23) == Some(&6);
            if is_tcp {
                &metrics.rx_count
            } else {
                &metrics.rx_accepted_unusual
            }
            .add(1);
            // Where the stack would refuse, Firecracker is silent, and the guest tries again.
            if is_tcp && opens_connection(&frame) && !self.has_room(now) {
                return;
            }
            frame[..6].copy_from_slice(&MAC);
            self.learn_neighbour(&frame, now);
        } else if frame.first().is_some_and(|byte| byte & 1 == 0) {
            frame[..6].copy_from_slice(&MAC);
        }
        self.link.received.push_back(frame);
        self.work(now);
    }

    /// Answers go where the question came from, as Firecracker's do. The stack would ask by ARP, which a guest may be
    /// configured not to answer; so it is told, by what such an answer would look like.
    fn learn_neighbour(&mut self, frame: &[u8], now: Instant) {
        let (Some(mac), Some(ip)) = (frame.get(6..12), frame.get(26..30)) else {
            return;
        };
        let (Ok(mac), Ok(ip)) = (<[u8; 6]>::try_from(mac), <[u8; 4]>::try_from(ip)) else {
            return;
        };
        let known = self.neighbour.is_some_and(|(known_mac, known_ip, seen)| {
            (known_mac, known_ip) == (mac, ip) && now.saturating_duration_since(seen) < NEIGHBOUR
        });
        if known {
            return;
        }
        self.neighbour = Some((mac, ip, now));
        let mut reply = Vec::with_capacity(42);
        reply.extend(MAC);
        reply.extend(mac);
        reply.extend(ARP);
        // Ethernet, IPv4, their address sizes, "reply".
        reply.extend([0, 1, 8, 0, 6, 4, 0, 2]);
        reply.extend(mac);
        reply.extend(ip);
        reply.extend(MAC);
        reply.extend(self.address.octets());
        self.link.received.push_back(reply);
    }

    /// The next frame for the guest.
    pub(crate) fn next_frame(&mut self) -> Option<Vec<u8>> {
        let frame = self.link.sending.pop_front()?;
        self.mmds.metrics().tx_frames.add(1);
        self.mmds.metrics().tx_bytes.add(frame.len() as u64);
        Some(frame)
    }

    /// Does what is due, and says when to be called again at the latest. Frames may be waiting afterwards.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.work(now);
        // With no room for frames the next step is the guest's.
        if self.link.sending.len() >= MAX_FRAMES {
            return None;
        }
        let wait = self.interface.poll_delay(self.time(now), &self.sockets)?;
        Some(now + Duration::from_micros(wait.total_micros().max(1)))
    }

    fn time(&self, now: Instant) -> StackInstant {
        let micros = now.saturating_duration_since(self.start).as_micros();
        StackInstant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn work(&mut self, now: Instant) {
        let time = self.time(now);
        loop {
            let polled = self.interface.poll(time, &mut self.link, &mut self.sockets);
            let mut busy = polled == PollResult::SocketStateChanged;
            for server in &mut self.servers {
                busy |= server.work(self.sockets.get_mut(server.socket), &self.mmds, now);
            }
            if !busy {
                break;
            }
        }
    }

    /// Whether a connection could be accepted. When all are taken, the one that was silent for longest goes, if that
    /// was long enough.
    fn has_room(&mut self, now: Instant) -> bool {
        let sockets = &mut self.sockets;
        if self
            .servers
            .iter()
            .any(|server| sockets.get::<Socket<'_>>(server.socket).is_listening())
        {
            return true;
        }
        let oldest = self.servers.iter().min_by_key(|server| server.active);
        let Some(oldest) = oldest.filter(|oldest| now.saturating_duration_since(oldest.active) >= IDLE)
        else {
            return false;
        };
        sockets.get_mut::<Socket<'_>>(oldest.socket).abort();
        self.work(now);
        true
    }
}

/// Whether a TCP packet asks for a new connection.
fn opens_connection(frame: &[u8]) -> bool {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let header = frame
        .get(ETHERNET_HEADER)
        .map_or(0, |byte| usize::from(byte & 15) * 4);
    frame
        .get(ETHERNET_HEADER + header + 13)
        .is_some_and(|flags| flags & (SYN | ACK) == SYN)
}
