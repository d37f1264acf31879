//! Sockets that wait for connections in the client's name: `ssh -R`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use tokio::task::JoinHandle;

use crate::ssh::fd::Fd;
use crate::ssh::hub::Hub;
use crate::ssh::identity::act_as;
use crate::ssh::login::Login;
use crate::ssh::protocol::wire::{Malformed, Put as _, Reader};
use crate::ssh::pump;
use crate::users::Identity;

/// Where connections are waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Where {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Where {
    /// The place that a global request of that kind is about, and whether it asks to begin. `None`: the kind is another.
    pub(crate) fn parse(kind: &str, reader: &mut Reader<'_>) -> Result<Option<(Self, bool)>, Malformed> {
        let begin = !kind.starts_with("cancel-");
        let place = match kind {
            "tcpip-forward" | "cancel-tcpip-forward" => {
                let host = reader.text()?.to_owned();
                Self::Tcp {
                    host,
                    port: u16::try_from(reader.u32()?).map_err(|_| Malformed)?,
                }
            }
            "streamlocal-forward@openssh.com" | "cancel-streamlocal-forward@openssh.com" => {
                Self::Unix(reader.text()?.into())
            }
            _ => return Ok(None),
        };
        Ok(Some((place, begin)))
    }
}

/// All of one connection. Dropping them ends their waiting.
#[derive(Debug, Default)]
pub(crate) struct Listeners(HashMap<Where, Listener>);

#[derive(Debug)]
struct Listener {
    tasks: Vec<JoinHandle<()>>,
    /// The socket's file, and who may remove it.
    file: Option<(PathBuf, Identity)>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some((path, identity)) = &self.file {
            // The user may have removed it already.
            let _ = act_as(identity, || std::fs::remove_file(path));
        }
    }
}

impl Listeners {
    /// Begins to wait. Gives the port, which matters where it was for this side to choose.
    pub(crate) async fn begin(&mut self, place: Where, login: &Login, hub: &Arc<Hub>) -> io::Result<u16> {
        let permissions = &login.permissions;
        let listed = match (&permissions.permit_listen, &place) {
            (None, _) => true,
            (Some(list), Where::Tcp { host, port }) => list.iter().any(|allowed| allowed.allows(host, *port)),
            (Some(_), Where::Unix(_)) => false,
        };
        if !permissions.port_forwarding || !listed {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the key does not allow it",
            ));
        }
        if self.0.contains_key(&place) || self.0.len() >= login.settings().limits.listeners {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "it is already forwarded, or too much is",
            ));
        }
        let rights = login.rights().await.map_err(io::Error::other)?;
        match place {
            Where::Tcp { host, port } => {
                let sockets = act_as(&rights, || bind(&host, port))??;
                let port = sockets
                    .first()
                    .map_or(Ok(port), |socket| socket.local_addr().map(|own| own.port()))?;
                let place = Where::Tcp { host, port };
                let mut tasks = Vec::new();
                for socket in sockets {
                    let socket = Fd::new(socket.into())?;
                    tasks.push(tokio::spawn(accept(socket, place.clone(), hub.clone())));
                }
                self.0.insert(place, Listener { tasks, file: None });
                Ok(port)
            }
            Where::Unix(path) => {
                let socket = act_as(&rights, || UnixListener::bind(&path))??;
                let file = Some((path.clone(), rights));
                let socket = Fd::new(OwnedFd::from(socket))?;
                let place = Where::Unix(path);
                let task = tokio::spawn(accept(socket, place.clone(), hub.clone()));
                self.0.insert(
                    place,
                    Listener {
                        tasks: vec![task],
                        file,
                    },
                );
                Ok(0)
            }
        }
    }

    /// Ends a waiting; the socket is closed then. `false`: there was none.
    pub(crate) async fn end(&mut self, place: &Where) -> bool {
        let Some(mut listener) = self.0.remove(place) else {
            return false;
        };
        for task in std::mem::take(&mut listener.tasks) {
            task.abort();
            // It was told to end: that it did so is no news.
            let _ = task.await;
        }
        true
    }
}

/// The sockets of a bind address as RFC 4254 section 7.1 describes them. A family that the guest does not have is left
/// out.
fn bind(host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    let addresses: Vec<IpAddr> = match host {
        // This one takes both families.
        "" | "*" => vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
        "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        other => {
            let address = other.parse();
            vec![address.map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, "it is no address of this machine")
            })?]
        }
    };
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let port = sockets
            .first()
            .map_or(Ok(port), |first| first.local_addr().map(|own| own.port()))?;
        match TcpListener::bind(SocketAddr::new(address, port)) {
            Ok(socket) => sockets.push(socket),
            Err(error) => last = error,
        }
        if address == IpAddr::from(Ipv6Addr::UNSPECIFIED) && !sockets.is_empty() {
            break;
        }
    }
    if sockets.is_empty() {
        Err(last)
    } else {
        Ok(sockets)
    }
}

/// Hands every connection to the client.
async fn accept(socket: Fd, place: Where, hub: Arc<Hub>) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        match socket.read_with(|fd| acceptfrom_with(fd, flags)).await {
            Ok((connection, peer)) => {
                tokio::spawn(serve(connection, peer, place.clone(), hub.clone()));
            }
            // Out of descriptors or memory, or the connection is already gone: the next one may do better.
            Err(error) => {
                tracing::debug!(%error, "a forwarded connection is lost");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(connection: OwnedFd, peer: Option<SocketAddrAny>, place: Where, hub: Arc<Hub>) {
    let Ok(connection) = Fd::new(connection) else {
        return;
    };
    let opened = match place {
        Where::Tcp { host, port } => {
            let originator = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            let originator = originator.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
            // A socket that does not take the option is as good without it.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&connection, true);
            let opened = hub.open("forwarded-tcpip", |out| {
                out.put_string(host.as_bytes());
                out.put_u32(port.into());
                out.put_string(originator.ip().to_canonical().to_string().as_bytes());
                out.put_u32(originator.port().into());
            });
            opened.await
        }
        Where::Unix(path) => {
            let opened = hub.open("forwarded-streamlocal@openssh.com", |out| {
                out.put_string(path.as_os_str().as_encoded_bytes());
                out.put_string(b"");
            });
            opened.await
        }
    };
    if let Ok(channel) = opened {
        pump::duplex(&channel, &connection).await;
    }
}
