//! The SSH server's listening sockets: opened by PID 1, inherited by each worker, so that a connection made while a
//! worker is being replaced waits instead of being refused.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// How many connections wait to be accepted; the kernel's own limit (`somaxconn`) is 4096.
const BACKLOG: i32 = 128;

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {what}")]
pub struct Error {
    what: String,
    #[source]
    source: std::io::Error,
}

/// One listening socket, non-blocking and close-on-exec.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// A listening `AF_VSOCK` stream socket.
    Vsock(OwnedFd),
}

impl Listener {
    /// Listens on `port` of every address, IPv6 and IPv4 (where there is no IPv6 at all, IPv4 alone).
    pub fn tcp(port: u16) -> Result<Self, Error> {
        let any6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let any4 = SocketAddr::from(([0, 0, 0, 0], port));
        TcpListener::bind([any6, any4].as_slice())
            .and_then(|listener| listener.set_nonblocking(true).map(|()| Self::Tcp(listener)))
            .map_err(|source| Error {
                what: format!("TCP port {port}"),
                source,
            })
    }

    /// Listens on `port` of every vsock context id of this machine.
    pub fn vsock(port: u32) -> Result<Self, Error> {
        let open = || -> Result<OwnedFd, Errno> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?;
            rustix::net::bind(
                &socket,
                &VsockAddr {
                    cid: libc::VMADDR_CID_ANY,
                    port,
                },
            )?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        };
        open().map(Self::Vsock).map_err(|e| Error {
            what: format!("vsock port {port}"),
            source: e.into(),
        })
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        match listener {
            Listener::Tcp(listener) => listener.into(),
            Listener::Vsock(socket) => socket,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Vsock(socket) => socket.as_fd(),
        }
    }
}

/// An address of the `AF_VSOCK` family, vsock(7).
#[derive(Clone, Copy, Debug)]
pub struct VsockAddr {
    pub cid: u32,
    pub port: u32,
}

// SAFETY: the pointer handed on is to a `sockaddr_vm` that lives across the call, with its own size.
unsafe impl SocketAddrArg for VsockAddr {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        // SAFETY: all zero is a valid `sockaddr_vm`; it holds integers only.
        let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
        address.svm_family = AddressFamily::VSOCK.as_raw();
        address.svm_cid = self.cid;
        address.svm_port = self.port;
        #[allow(clippy::cast_possible_truncation, reason = "16 bytes")]
        let length = size_of::<libc::sockaddr_vm>() as SocketAddrLen;
        f((&raw const address).cast(), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_listener_takes_both_families() {
        let Listener::Tcp(listener) = Listener::tcp(0).unwrap() else {
            unreachable!("asked for TCP");
        };
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn a_vsock_address_has_the_layout_of_the_kernel() {
        let address = VsockAddr { cid: 2, port: 1024 };
        // SAFETY: the closure reads as many bytes as it is told there are.
        let bytes = unsafe {
            address.with_sockaddr(|pointer, length| {
                std::slice::from_raw_parts(pointer.cast::<u8>(), length as usize).to_vec()
            })
        };
        assert_eq!(bytes, [40, 0, 0, 0, 0, 4, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }
}
