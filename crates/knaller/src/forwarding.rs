//! Ports of the host that lead into a machine while the caller holds them open: connections to the guest's own loopback,
//! carried by one SSH connection over vsock.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::layout::Files;
use crate::network::ports;
use crate::ssh::{self, Ssh};
use crate::{Error, Forward, Name, Protocol, Result};

/// The most connections carried at once; later ones wait to be taken.
const MAX_CONNECTIONS: usize = 256;

/// A listening port. Dropping it closes the port and its connections.
#[derive(Debug)]
pub struct Forwarding {
    local: SocketAddr,
    task: AbortHandle,
    open: watch::Receiver<()>,
}

impl Forwarding {
    pub(crate) async fn open(files: &Files, name: &Name, local: SocketAddr, port: u16) -> Result<Self> {
        let failed = |reason: String| Error::Forward {
            name: name.clone(),
            port,
            reason,
        };
        let ssh = ssh::connect(files, name, "root").await?;
        if ports::leads_to_a_machine(taken(local, port)) {
            return Err(ports::refused(ErrorKind::AddrInUse.into(), taken(local, port)));
        }
        let listener = TcpListener::bind(local).await;
        let listener = listener.map_err(|e| ports::refused(e, taken(local, port)))?;
        let local = listener.local_addr().map_err(|e| failed(e.to_string()))?;
        let (alive, open) = watch::channel(());
        let serving = tokio::spawn(async move {
            serve(&listener, ssh, port).await;
            drop(alive);
        });
        Ok(Self {
            local,
            task: serving.abort_handle(),
            open,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits until the machine is no longer reachable.
    pub async fn ended(&mut self) {
        while self.open.changed().await.is_ok() {}
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The forward that a `start` would have for it.
fn taken(local: SocketAddr, guest_port: u16) -> Forward {
    Forward {
        bind: Some(local.ip()),
        host_port: local.port(),
        guest_port,
        protocol: Protocol::Tcp,
    }
}

async fn serve(listener: &TcpListener, ssh: Ssh, port: u16) {
    let closed = ssh.closed();
    tokio::pin!(closed);
    let ssh = Arc::new(ssh);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut closed => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(carry(Arc::clone(&ssh), stream, peer, port));
                }
                Err(error) => {
                    // Of one connection (it went before it was taken), or for want of files: others may end.
                    tracing::debug!(%error, "a connection was not taken");
                    tokio::task::yield_now().await;
                }
            },
        }
    }
}

async fn carry(ssh: Arc<Ssh>, mut stream: TcpStream, peer: SocketAddr, port: u16) {
    let (host, from) = (peer.ip().to_string(), u32::from(peer.port()));
    // The guest connects to its own loopback, whichever family its program listens on.
    let channel = ssh
        .handle
        .channel_open_direct_tcpip("localhost", u32::from(port), host, from)
        .await;
    let ended = match channel {
        Ok(channel) => {
            let mut channel = channel.into_stream();
            tokio::io::copy_bidirectional(&mut stream, &mut channel)
                .await
                .map(drop)
        }
        Err(error) => Err(std::io::Error::other(error)),
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, port, %error, "a forwarded connection broke");
    }
}
