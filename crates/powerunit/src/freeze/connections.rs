//! Ending the connections of a machine that has become another. Their other ends know nothing of it: what one of them sends
//! goes to the machine that it was, and a program that waited for it would do so for ever.
//!
//! The invariant: what both ends of are in this machine stays, and so does what nobody is connected to. The machine is all
//! addresses that a connection of it begins at; one of which the guest itself translates both is taken for another's.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::net::{Shutdown, connect_unspec, getpeername, getsockname, ipproto, shutdown, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::processes;

/// A TCP socket that somebody is connected to.
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    ends: Ends,
}

/// This one's address, and the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    here: SocketAddr,
    there: SocketAddr,
}

/// Breaks off the TCP connections that the programs of this machine, but for process `own`, have to others: who reads or writes
/// is told that the connection was reset, or is over. The programs should stand still: what one opens meanwhile may be missed. One that has
/// not been accepted yet cannot be reached.
pub(super) fn close(own: i32) {
    let connections = all(own);
    let ends: Vec<Ends> = connections.iter().map(|connection| connection.ends).collect();
    for (Connection { socket, .. }, out) in connections.iter().zip(leading_out(&ends)) {
        // Where a reader still waits in it, a kernel may refuse (inet_stream_connect, `sk_wait_pending`).
        if out && connect_unspec(socket).is_err() {
            // Its other end may have gone meanwhile.
            let _ = shutdown(socket, Shutdown::Both);
        }
    }
}

/// Of each whether its other end is in another machine.
fn leading_out(all: &[Ends]) -> Vec<bool> {
    let own: HashSet<IpAddr> = all.iter().map(|ends| ends.here.ip()).collect();
    let leads_out = |ends: &Ends| !ends.there.ip().is_loopback() && !own.contains(&ends.there.ip());
    all.iter().map(leads_out).collect()
}

fn all(own: i32) -> Vec<Connection> {
    let mut seen = HashSet::new();
    let mut connections = Vec::new();
    for pid in numbers(Path::new("/proc")).filter(|pid| *pid != own && processes::is_program(*pid)) {
        let pid_fd = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        // It may end at any time.
        let Some(Ok(process)) = pid_fd else { continue };
        let folder = format!("/proc/{pid}/fd");
        for fd in numbers(Path::new(&folder)) {
            let Ok(target) = std::fs::read_link(format!("{folder}/{fd}")) else {
                continue;
            };
            // Children have their parents' too.
            if target.to_string_lossy().starts_with("socket:[") && seen.insert(target) {
                connections.extend(connection(&process, fd));
            }
        }
    }
    connections
}

/// The names in a folder that are numbers.
fn numbers(folder: &Path) -> impl Iterator<Item = i32> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn connection(process: impl AsFd, fd: RawFd) -> Option<Connection> {
    let socket = pidfd_getfd(process, fd, PidfdGetfdFlags::empty()).ok()?;
    if sockopt::socket_protocol(&socket).ok()? != Some(ipproto::TCP) {
        return None;
    }
    let here = plain(getsockname(&socket).ok()?.try_into().ok()?);
    // One that listens has none.
    let there = plain(getpeername(&socket).ok()??.try_into().ok()?);
    let ends = Ends { here, there };
    Some(Connection { socket, ends })
}

/// Either end may know an IPv4 address as one of IPv6.
fn plain(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(here: &str, there: &str) -> Ends {
        Ends {
            here: here.parse().unwrap(),
            there: there.parse().unwrap(),
        }
    }

    #[test]
    fn what_stays_within_the_machine_leads_nowhere_else() {
        let all = [
            // From the world, from the machine to the world.
            ends("10.0.0.2:80", "192.0.2.7:50000"),
            ends("[fd00::2]:50001", "[2001:db8::1]:443"),
            // By the loopback, by its own address.
            ends("127.0.0.1:5432", "127.0.0.1:50002"),
            ends("[::1]:50003", "[::1]:5432"),
            ends("10.0.0.2:50004", "10.0.0.2:80"),
            // Between two namespaces of the machine.
            ends("172.17.0.1:50005", "172.17.0.2:80"),
            ends("172.17.0.2:80", "172.17.0.1:50005"),
            // To a port that leads into one.
            ends("172.17.0.2:80", "10.0.0.2:50006"),
        ];
        let out = leading_out(&all);
        assert_eq!(out, [true, true, false, false, false, false, false, false]);
    }

    #[test]
    fn a_connection_of_another_process_is_found_with_its_ends() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let has = |connections: &[Connection]| {
            let here = client.local_addr().unwrap();
            connections.iter().any(|connection| connection.ends.here == here)
        };
        let own = std::process::id().cast_signed();
        assert!(has(&all(0)) && !has(&all(own)));
    }
}
