//! Datagrams. The invariant: each peer has a socket of its own towards the guest, so that answers find back, and gets them
//! from the address of the host that it wrote to; there are never more than [`MAX_PEERS`] of them.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as Plain};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// The most peers at once: for one more the one is forgotten that has been silent for longest.
const MAX_PEERS: usize = 512;

/// A peer is forgotten when nothing came or went for this long, and for twice this at most.
const IDLE: Duration = Duration::from_secs(90);

/// How long to wait when the socket fails, of which it recovers.
const PAUSE: Duration = Duration::from_millis(100);

/// The largest datagram, or as many as the kernel gives at once.
const LARGEST: usize = 1 << 16;

/// The host's socket.
#[derive(Debug)]
pub(super) struct Shared {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Shared {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Arc<Self>> {
        let socket = Plain::from(socket);
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The library forbids fragments, which answers of more than 1.5 KB need.
        if socket.local_addr()?.is_ipv4() {
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::WANT)?;
        } else {
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::WANT)?;
        }
        let socket = UdpSocket::from_std(socket)?;
        Ok(Arc::new(Self { socket, state }))
    }

    pub(super) fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What has come, which may be several datagrams of one peer's.
    async fn receive(&self, into: &mut [u8]) -> io::Result<RecvMeta> {
        loop {
            self.socket.readable().await?;
            let mut meta = [RecvMeta::default()];
            let received = self.socket.try_io(Interest::READABLE, || {
                let mut into = [IoSliceMut::new(into)];
                self.state
                    .recv(UdpSockRef::from(&self.socket), &mut into, &mut meta)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(meta.into_iter().next().unwrap_or_default()),
            }
        }
    }

    /// Sends it, or loses it where there is no room: it is a datagram.
    fn answer(&self, peer: Peer, contents: &[u8]) {
        let transmit = Transmit {
            destination: peer.address,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: peer.wrote_to,
        };
        let _ = self.socket.try_io(Interest::WRITABLE, || {
            self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
        });
    }
}

/// Who writes, and to which of the host's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Peer {
    address: SocketAddr,
    wrote_to: Option<IpAddr>,
}

/// What a peer has in here. Dropping it ends it.
#[derive(Debug)]
struct Flow {
    guest: Arc<UdpSocket>,
    used: Arc<AtomicBool>,
    /// When it was used last, counted in datagrams.
    at: u64,
    answering: AbortHandle,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

pub(super) async fn serve(host: Arc<Shared>, guest: SocketAddr) {
    let mut flows: HashMap<Peer, Flow> = HashMap::new();
    let mut buffer = vec![0; LARGEST];
    let mut count = 0_u64;
    loop {
        let Ok(meta) = host.receive(&mut buffer).await else {
            sleep(PAUSE).await;
            continue;
        };
        let peer = Peer {
            address: meta.addr,
            wrote_to: meta.dst_ip,
        };
        count += 1;
        if flows.get(&peer).is_some_and(|flow| flow.answering.is_finished()) {
            flows.remove(&peer);
        }
        if !flows.contains_key(&peer) {
            make_room(&mut flows);
            // No files, or no way to the guest: another datagram may have more luck.
            let Ok(flow) = begin(&host, peer, guest).await else {
                continue;
            };
            flows.insert(peer, flow);
        }
        let Some(flow) = flows.get_mut(&peer) else {
            continue;
        };
        flow.at = count;
        flow.used.store(true, Ordering::Relaxed);
        let received = buffer.get(..meta.len).unwrap_or_default();
        if received.is_empty() {
            let _ = flow.guest.try_send(received);
        }
        for datagram in received.chunks(meta.stride.max(1)) {
            let _ = flow.guest.try_send(datagram);
        }
    }
}

/// Forgets those that are over, and if that is not enough, one more.
fn make_room(flows: &mut HashMap<Peer, Flow>) {
    if flows.len() < MAX_PEERS {
        return;
    }
    flows.retain(|_, flow| !flow.answering.is_finished());
    if flows.len() < MAX_PEERS {
        return;
    }
    let longest = flows.iter().min_by_key(|(_, flow)| flow.at);
    if let Some(peer) = longest.map(|(peer, _)| *peer) {
        flows.remove(&peer);
    }
}

async fn begin(host: &Arc<Shared>, peer: Peer, guest: SocketAddr) -> io::Result<Flow> {
    let any: IpAddr = match guest {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = Arc::new(UdpSocket::bind((any, 0)).await?);
    socket.connect(guest).await?;
    // Writable from the beginning, which the runtime has to be told.
    socket.writable().await?;
    let used = Arc::new(AtomicBool::new(true));
    let answering = tokio::spawn(answers(
        Arc::clone(host),
        peer,
        Arc::clone(&socket),
        Arc::clone(&used),
    ));
    Ok(Flow {
        guest: socket,
        used,
        at: 0,
        answering: answering.abort_handle(),
    })
}

/// Carries the guest's answers to the peer until there is silence.
async fn answers(host: Arc<Shared>, peer: Peer, guest: Arc<UdpSocket>, used: Arc<AtomicBool>) {
    loop {
        match timeout(IDLE, guest.readable()).await {
            Ok(Ok(())) => {}
            Err(_) if used.swap(false, Ordering::Relaxed) => continue,
            Ok(Err(_)) | Err(_) => return,
        }
        // Not kept while nothing comes: there may be many peers.
        let mut buffer = Vec::with_capacity(LARGEST);
        match guest.try_recv_buf(&mut buffer) {
            Ok(_) => {
                used.store(true, Ordering::Relaxed);
                host.answer(peer, &buffer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Nobody listens there, or not yet: the next datagram of the peer's begins anew.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Plain;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn socket(address: &str) -> Plain {
        let socket = Plain::bind(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// A guest that says who wrote what, and the port that leads to it.
    fn relay() -> (tokio::runtime::Runtime, u16) {
        let guest = socket("127.0.0.1:0");
        let to = guest.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; LARGEST];
            while let Ok((length, from)) = guest.recv_from(&mut buffer) {
                if buffer[..length].starts_with(b"who") {
                    let _ = guest.send_to(from.to_string().as_bytes(), from);
                } else {
                    let _ = guest.send_to(&buffer[..length], from);
                }
            }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let host = socket("0.0.0.0:0");
        let port = host.local_addr().unwrap().port();
        runtime.spawn(async move { serve(Shared::new(host.into()).unwrap(), to).await });
        (runtime, port)
    }

    fn ask(peer: &Plain, text: &[u8]) -> Vec<u8> {
        peer.send(text).unwrap();
        let mut answer = vec![0; LARGEST];
        let length = peer.recv(&mut answer).unwrap();
        answer.truncate(length);
        answer
    }

    #[test]
    fn each_peer_has_its_own_answers_from_where_it_wrote_to() {
        let (_runtime, port) = relay();
        // A peer that is connected takes answers of that address only.
        let peers = ["127.0.0.1", "127.0.0.2"].map(|host| {
            let peer = socket("127.0.0.1:0");
            peer.connect((host, port)).unwrap();
            peer
        });
        let [one, other] = peers.each_ref().map(|peer| ask(peer, b"who"));
        assert_ne!(one, other, "they are two to the guest");
        assert_eq!(ask(&peers[0], b"who"), one, "and stay who they are");
        assert_eq!(ask(&peers[0], b""), b"");
        let large = vec![7; 60_000];
        assert!(ask(&peers[1], &large) == large);
    }

    #[tokio::test]
    async fn of_many_peers_the_latest_are_known() {
        let host = Shared::new(socket("127.0.0.1:0").into()).unwrap();
        let guest = socket("127.0.0.1:0").local_addr().unwrap();
        let peer = |port: u16| Peer {
            address: ([127, 0, 0, 1], port).into(),
            wrote_to: None,
        };
        let mut flows = HashMap::new();
        for at in 0..MAX_PEERS {
            make_room(&mut flows);
            let at = u16::try_from(at).unwrap();
            let mut flow = begin(&host, peer(at), guest).await.unwrap();
            flow.at = 1000 - u64::from(at);
            flows.insert(peer(at), flow);
        }
        assert_eq!(flows.len(), MAX_PEERS);
        make_room(&mut flows);
        assert_eq!(flows.len(), MAX_PEERS - 1);
        let longest = u16::try_from(MAX_PEERS).unwrap() - 1;
        assert!(!flows.contains_key(&peer(longest)));
    }
}
