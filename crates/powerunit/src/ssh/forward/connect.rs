//! Connections that the client asks this side to make: `ssh -L`, `-D`, `-W`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::TcpStream;

use super::resolve::resolve;
use crate::ssh::channel::Channel;
use crate::ssh::fd::Fd;
use crate::ssh::identity::act_as;
use crate::ssh::login::Login;
use crate::ssh::protocol::message::OpenFailure;
use crate::ssh::protocol::wire::{Malformed, Reader};
use crate::ssh::pump;

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Target {
    /// The target of a channel of that kind. `None`: the kind is another one.
    pub(crate) fn parse(kind: &str, reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        match kind {
            "direct-tcpip" => {
                let host = reader.text()?.to_owned();
                let port = u16::try_from(reader.u32()?).map_err(|_| Malformed)?;
                let (_originator, _port) = (reader.string()?, reader.u32()?);
                Ok(Some(Self::Tcp { host, port }))
            }
            "direct-streamlocal@openssh.com" => {
                let path = reader.text()?;
                let _reserved = (reader.string()?, reader.u32()?);
                Ok(Some(Self::Unix(path.into())))
            }
            _ => Ok(None),
        }
    }

    /// Whether the key in use lets its owner connect there.
    fn is_allowed(&self, login: &Login) -> bool {
        let permissions = &login.permissions;
        let listed = match (&permissions.permit_open, self) {
            (None, _) => true,
            (Some(list), Self::Tcp { host, port }) => list.iter().any(|target| target.allows(host, *port)),
            (Some(_), Self::Unix(_)) => false,
        };
        permissions.port_forwarding && listed
    }
}

/// Connects to `target` and serves the channel to its end.
pub(crate) async fn connect(channel: Channel, target: Target, login: &Login) {
    if !target.is_allowed(login) {
        channel.refuse(OpenFailure::Prohibited, "the key does not allow this connection");
        return;
    }
    let connected = tokio::select! {
        connected = open(&target, login) => connected,
        () = channel.closed() => return,
    };
    match connected {
        Ok(socket) => {
            if channel.confirm().is_ok() {
                pump::duplex(&channel, &socket).await;
            }
        }
        Err(error) => channel.refuse(OpenFailure::ConnectFailed, &error.to_string()),
    }
}

async fn open(target: &Target, login: &Login) -> io::Result<Fd> {
    match target {
        Target::Tcp { host, port } => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, format!("the name {host} has no address"));
            for address in resolve(&login.settings().etc, host).await? {
                match TcpStream::connect(SocketAddr::new(address, *port)).await {
                    Ok(stream) => {
                        // Small messages matter more than few packets, as in sshd.
                        stream.set_nodelay(true)?;
                        return Fd::new(OwnedFd::from(stream.into_std()?));
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        Target::Unix(path) => {
            let rights = login.rights().await.map_err(io::Error::other)?;
            let address = SocketAddrUnix::new(path)?;
            let socket = act_as(&rights, || {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                rustix::net::connect(&socket, &address)?;
                Ok::<_, rustix::io::Errno>(socket)
            })??;
            Fd::new(socket)
        }
    }
}
