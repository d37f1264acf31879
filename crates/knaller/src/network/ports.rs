//! Host ports of a machine. The invariant: between the moment a port is found free and the moment pasta has bound it,
//! no other knaller of this user tries for the same port; and pasta itself binds, so that a port in use is never
//! shared. A port that leads to a machine by the kernel's rules is in use too, whoever asks, though nobody listens
//! there.
//!
//! pasta alone is not enough: asked for a port of every address, it is content with IPv4 or IPv6 where the other family's
//! is taken (pasta of 2023-03), and the half that is missing would be noticed by nobody.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::net::netdevice::name_to_index;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, getsockname, listen, shutdown, socket_with,
    sockopt,
};

use super::direct;
use crate::{Error, Forward, Paths, Protocol, Result};

/// How often another free port is looked for.
const ATTEMPTS: usize = 64;

/// Ports that are ours to hand to pasta. Let go of the sockets right before pasta binds; drop the rest when it has.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// With the host ports chosen.
    pub(crate) forwards: Vec<Forward>,
    /// Each with the forward that it is for.
    sockets: Vec<(Forward, OwnedFd)>,
    _lock: File,
}

impl Reserved {
    /// The sockets that have the port of one of [`Self::forwards`], which listen where that is TCP.
    pub(crate) fn sockets(&self, forward: Forward) -> impl Iterator<Item = BorrowedFd<'_>> {
        let own = self.sockets.iter().filter(move |(of, _)| *of == forward);
        own.map(|(_, socket)| socket.as_fd())
    }

    /// Closes the sockets that keep the ports from others, so that pasta can bind them.
    pub(crate) fn let_go(&mut self) {
        for (_, socket) in &self.sockets {
            // Closing alone is not enough: a child that was forked meanwhile has the same socket until it becomes its
            // program. One that does not listen any more keeps nobody from the port who reuses addresses, as pasta
            // does.
            let _ = shutdown(socket, Shutdown::Both);
        }
        self.sockets.clear();
    }
}

/// The file by which all knallers of this user keep out of each other's way.
pub(crate) fn lock_of(paths: &Paths) -> PathBuf {
    paths.runtime.join("ports.lock")
}

/// Reserves the host ports of `forwards`, choosing those that are 0. `lock` is a file of all knallers of this user.
///
/// Blocks while another knaller is between its reservation and pasta's binding of the same port.
pub(crate) fn reserve(forwards: &[Forward], ipv6: bool, lock: &Path) -> Result<Reserved> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(lock);
    let lock = file.map_err(Error::io("open", lock))?;
    let mut reserved = Reserved {
        forwards: Vec::new(),
        sockets: Vec::new(),
        _lock: lock,
    };
    // In one order for all, so that two that want the same two ports do not wait for each other for ever.
    let mut order: Vec<_> = (0..forwards.len()).collect();
    order.sort_by_key(|at| {
        forwards
            .get(*at)
            .map(|f| (f.host_port == 0, f.protocol, f.host_port))
    });
    let mut chosen = forwards.to_vec();
    for at in order {
        let Some(forward) = chosen.get_mut(at) else {
            continue;
        };
        if forward.host_port == 0 {
            reserved.choose(forward, ipv6)?;
        } else {
            reserved.take(*forward, ipv6)?;
        }
    }
    reserved.forwards = chosen;
    Ok(reserved)
}

impl Reserved {
    fn take(&mut self, forward: Forward, ipv6: bool) -> Result<()> {
        if leads_to_a_machine(forward) {
            return Err(refused(io::ErrorKind::AddrInUse.into(), forward));
        }
        lock_port(&self._lock, forward, true).map_err(Error::system("lock a port"))?;
        for address in addresses(forward, ipv6) {
            let socket = try_bind(address, forward.host_port, forward.protocol);
            self.sockets
                .push((forward, socket.map_err(|e| refused(e, forward))?));
        }
        Ok(())
    }

    /// Lets the kernel choose for the first address, and tries the same port on the other.
    fn choose(&mut self, forward: &mut Forward, ipv6: bool) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let mut sockets = Vec::new();
            let mut port = 0;
            for address in addresses(*forward, ipv6) {
                match try_bind(address, port, forward.protocol) {
                    Ok(socket) => {
                        port = bound_port(&socket).map_err(Error::system("ask for a port"))?;
                        sockets.push(socket);
                    }
                    Err(error) if port != 0 && error.kind() == io::ErrorKind::AddrInUse => {
                        sockets.clear();
                        break;
                    }
                    Err(error) => return Err(refused(error, *forward)),
                }
            }
            let candidate = Forward {
                host_port: port,
                ..*forward
            };
            if !sockets.is_empty()
                && !leads_to_a_machine(candidate)
                && lock_port(&self._lock, candidate, false).is_ok()
            {
                *forward = candidate;
                self.sockets
                    .extend(sockets.into_iter().map(|socket| (candidate, socket)));
                return Ok(());
            }
        }
        Err(refused(io::ErrorKind::AddrInUse.into(), *forward))
    }
}

/// Whether packets to the port are taken by a machine of [`crate::Network::Direct`], which has no socket there.
pub(crate) fn leads_to_a_machine(forward: Forward) -> bool {
    let name = direct::claim(forward.protocol, forward.host_port);
    // Any socket will do to ask about interfaces.
    socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .is_ok_and(|socket| name_to_index(socket, &name).is_ok())
}

/// What pasta binds for it.
fn addresses(forward: Forward, ipv6: bool) -> Vec<IpAddr> {
    match forward.bind {
        Some(address) => vec![address],
        None if ipv6 => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        None => vec![Ipv4Addr::UNSPECIFIED.into()],
    }
}

fn try_bind(address: IpAddr, port: u16, protocol: Protocol) -> io::Result<OwnedFd> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // As pasta does: connections of an earlier listener that linger do not count as taken.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(address, port))?;
    if protocol == Protocol::Tcp {
        // Only a socket that listens keeps others from the port that reuse addresses too (socket(7)).
        listen(&socket, 1)?;
    }
    Ok(socket)
}

fn bound_port(socket: &OwnedFd) -> io::Result<u16> {
    let address = getsockname(socket)?;
    let address = SocketAddr::try_from(address).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(address.port())
}

/// Why the host port of `forward` could not be bound; [`crate::list::blame`] finds who has it.
pub(crate) fn refused(error: io::Error, forward: Forward) -> Error {
    let Forward {
        bind,
        host_port: port,
        protocol,
        ..
    } = forward;
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::PortTaken {
            bind,
            port,
            protocol,
            by: None,
        },
        io::ErrorKind::PermissionDenied => Error::PortReserved {
            port,
            protocol,
            first: first_unprivileged(),
        },
        io::ErrorKind::AddrNotAvailable => Error::NotOurAddress {
            address: bind.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        },
        _ => Error::system("bind a port")(error),
    }
}

/// The first port that anybody may bind (ip-sysctl: `ip_unprivileged_port_start`).
pub(crate) fn first_unprivileged() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    text.trim().parse().unwrap_or(1024)
}

/// Puts a lock on the byte of the file that stands for the port: open file description locks (fcntl(2)), which belong to
/// the open file, so that two starts in one process exclude each other too.
fn lock_port(file: &File, forward: Forward, wait: bool) -> io::Result<()> {
    let base: libc::off_t = match forward.protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 65_536,
    };
    // SAFETY: all-zero bytes are a valid `struct flock`, a plain C structure of integers.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK.try_into().map_err(io::Error::other)?;
    range.l_whence = libc::SEEK_SET.try_into().map_err(io::Error::other)?;
    range.l_start = base + libc::off_t::from(forward.host_port);
    range.l_len = 1;
    let command = if wait {
        libc::F_OFD_SETLKW
    } else {
        libc::F_OFD_SETLK
    };
    loop {
        // SAFETY: the descriptor is open for the time of the call, and both commands read a `struct flock`.
        match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut range) } {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn forward(text: &str) -> Forward {
        text.parse().unwrap()
    }

    #[test]
    fn a_port_taken_in_one_family_only_is_taken() {
        let temp = tempfile::tempdir().unwrap();
        let lock = temp.path().join("ports.lock");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for text in [format!("{port}:80"), format!("127.0.0.1:{port}:80")] {
            let error = reserve(&[forward(&text)], true, &lock).unwrap_err();
            assert!(
                matches!(error, Error::PortTaken { port: p, .. } if p == port),
                "{error}"
            );
        }
        // UDP is another matter.
        reserve(&[forward(&format!("{port}:80/udp"))], true, &lock).unwrap();
    }

    #[test]
    fn chosen_ports_are_free_and_differ() {
        let temp = tempfile::tempdir().unwrap();
        let lock = temp.path().join("ports.lock");
        let wish = [forward("0:80"), forward("127.0.0.1:0:81"), forward("0:53/udp")];
        let mut reserved = reserve(&wish, true, &lock).unwrap();
        let ports: Vec<_> = reserved.forwards.iter().map(|f| f.host_port).collect();
        assert!(ports.iter().all(|port| *port != 0));
        assert_ne!(ports[0], ports[1]);
        assert!(TcpListener::bind(("0.0.0.0", ports[0])).is_err());
        reserved.let_go();
        TcpListener::bind(("0.0.0.0", ports[0])).unwrap();
        UdpSocket::bind(("0.0.0.0", ports[2])).unwrap();
    }

    #[test]
    fn a_port_that_was_let_go_is_free_whoever_shares_its_socket() {
        let temp = tempfile::tempdir().unwrap();
        let mut reserved = reserve(&[forward("0:80")], true, &temp.path().join("ports.lock")).unwrap();
        let port = reserved.forwards[0].host_port;
        // As a child has them between fork(2) and execve(2).
        let shared: Vec<_> = reserved
            .sockets
            .iter()
            .map(|(_, s)| s.try_clone().unwrap())
            .collect();
        assert!(TcpListener::bind(("0.0.0.0", port)).is_err());
        reserved.let_go();
        TcpListener::bind(("0.0.0.0", port)).unwrap();
        drop(shared);
    }

    #[test]
    fn two_starts_never_have_the_same_port_between_them() {
        let temp = tempfile::tempdir().unwrap();
        let lock = temp.path().join("ports.lock");
        let mut first = reserve(&[forward("0:80")], true, &lock).unwrap();
        let port = first.forwards[0].host_port;
        first.let_go();
        // The port can be bound now, but is still the first one's.
        let second = std::thread::scope(|scope| {
            let second = scope.spawn(|| reserve(&[forward(&format!("{port}:80"))], true, &lock));
            let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
            drop(first);
            let second = second.join().unwrap();
            drop(listener);
            second
        });
        assert!(matches!(second, Err(Error::PortTaken { .. })));
    }

    #[test]
    fn an_address_of_another_host_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let lock = temp.path().join("ports.lock");
        let error = reserve(&[forward("198.51.100.77:0:80")], true, &lock).unwrap_err();
        assert!(matches!(error, Error::NotOurAddress { .. }), "{error}");
    }
}
