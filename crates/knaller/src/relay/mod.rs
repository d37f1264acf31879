//! A port of the host that leads into a machine which runs already: a process that takes connections and datagrams out here
//! and makes its own to the guest in there. See `network::live` for who starts and ends it.
//!
//! ```text
//! host's network      peer ── listening socket (made by the starting process)
//!                               │ this
//! machine's network             └── a socket for each peer ── TAP ── guest
//! ```
//!
//! A socket stays in the network that it was made in, so one process has both ends. The invariant: it ends with the machine's
//! VMM, whoever else lives or is killed; and once it carries anything it has no capability, no file and no way to any, and
//! may connect to one port.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::network::addresses::{GUEST_V4, GUEST_V6};
use crate::{Forward, Protocol, readable};

mod confine;
mod tcp;
mod udp;

pub(crate) use confine::confine;

/// What it is to carry. The sockets of the host come beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    pub(crate) forward: Forward,
    /// Whether the guest has IPv6.
    pub(crate) ipv6: bool,
}

impl Port {
    /// Where what comes in by an address of this family goes: to the same one, if the guest has it.
    fn guest(self, from: IpAddr) -> SocketAddr {
        let address = match from {
            IpAddr::V6(_) if self.ipv6 => IpAddr::V6(GUEST_V6),
            _ => IpAddr::V4(GUEST_V4),
        };
        SocketAddr::new(address, self.forward.guest_port)
    }
}

/// Carries what comes by `sockets` until `vmm`, a pidfd, ends. `ready` is called when it does.
///
/// # Errors
/// It cannot be begun, or its runtime fails.
pub(crate) fn carry(
    port: Port,
    vmm: OwnedFd,
    sockets: Vec<OwnedFd>,
    ready: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let vmm = readable::watch(vmm)?;
        let mut serving = JoinSet::new();
        for socket in sockets {
            match port.forward.protocol {
                Protocol::Tcp => {
                    let listener = tcp::listener(socket)?;
                    let guest = port.guest(listener.local_addr()?.ip());
                    serving.spawn(tcp::serve(listener, guest));
                }
                Protocol::Udp => {
                    let socket = udp::Shared::new(socket)?;
                    let guest = port.guest(socket.local()?.ip());
                    serving.spawn(udp::serve(socket, guest));
                }
            }
        }
        ready()?;
        // A pidfd becomes readable when its process ends (pidfd_open(2)).
        tokio::select! {
            ended = vmm.readable() => ended.map(drop),
            Some(_) = serving.join_next() => Err(io::Error::other("a port is carried no more")),
        }
    })
}
