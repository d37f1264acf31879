//! Accepting connections.
//!
//! The invariant: strangers on the network can neither use up the server nor lock its owner out. Few connections may be at
//! their login at a time; with one more, the oldest of them is ended. The host's own, over vsock, do not count. A connection
//! lasts no longer than the settings it was made with.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{SocketFlags, accept_with, getpeername, getsockname};
use tokio::sync::{oneshot, watch};

use super::connection::Connection;
use super::fd::Fd;
use super::peer::Peer;
use super::settings::Settings;
use crate::listen::Listener;
use crate::machine;

/// How long to wait when the machine is out of descriptors or memory.
const RESPITE: Duration = Duration::from_millis(100);

/// Serves SSH on `listeners` for ever, as the latest `settings` say: when they change, all connections end. While the machine
/// stands still none is served that was not there before. Must be called inside a runtime; one thread is enough.
///
/// # Errors
///
/// A listener cannot be watched.
pub async fn serve(
    listeners: Vec<Listener>,
    settings: watch::Receiver<Arc<Settings>>,
    machine: machine::Handle,
) -> io::Result<()> {
    let server = Arc::new(Server {
        settings,
        machine,
        logging_in: Mutex::default(),
    });
    let mut tasks = Vec::new();
    for listener in listeners {
        let socket = Fd::new(OwnedFd::from(listener))?;
        tasks.push(tokio::spawn(accept(server.clone(), socket)));
    }
    for task in tasks {
        // They end only with the runtime.
        let _ = task.await;
    }
    Ok(())
}

struct Server {
    settings: watch::Receiver<Arc<Settings>>,
    machine: machine::Handle,
    logging_in: Mutex<LoggingIn>,
}

/// The connections over the network that are at their login, oldest first, each with what ends it.
#[derive(Default)]
struct LoggingIn {
    last: u64,
    connections: VecDeque<(u64, oneshot::Sender<()>)>,
}

async fn accept(server: Arc<Server>, socket: Fd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        match socket.read_with(|fd| accept_with(fd, flags)).await {
            Ok(stream) => {
                server.machine.moving().await;
                if let Err(error) = server.clone().start(stream) {
                    tracing::debug!(%error, "a connection cannot be served");
                }
            }
            // Often the client has gone away again; if it is the machine's fault, waiting is all that helps.
            Err(error) => {
                tracing::debug!(%error, "a connection is lost");
                tokio::time::sleep(RESPITE).await;
            }
        }
    }
}

impl Server {
    fn start(self: Arc<Self>, stream: OwnedFd) -> Result<(), Unserved> {
        let peer = peer(stream.as_fd())?;
        let mut place = None;
        if peer.address().is_some() {
            // The option is for the latency of keystrokes; a socket without it works.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&stream, true);
            place = Some(self.enter());
        }
        let (number, evicted) = place.unzip();
        let leave = {
            let server = self.clone();
            move || number.into_iter().for_each(|number| server.leave(number))
        };
        let mut settings = self.settings.clone();
        let present = settings.borrow_and_update().clone();
        let machine = self.machine.clone();
        let connection = Connection::new(Fd::new(stream)?, peer, present, machine, Box::new(leave.clone()))?;
        tokio::spawn(async move {
            tokio::select! {
                end = connection.run() => tracing::debug!(%end, %peer, "a connection ended"),
                () = changed(settings) => tracing::info!(%peer, "the machine is another: ended the connection"),
                () = told(evicted) => tracing::info!(%peer, "too many connections are at their login: ended the oldest"),
            }
            leave();
        });
        Ok(())
    }

    fn logging_in(&self) -> MutexGuard<'_, LoggingIn> {
        // Nothing panics while it is locked.
        self.logging_in.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among those at their login, and what tells that it is lost.
    fn enter(&self) -> (u64, oneshot::Receiver<()>) {
        let (keep, evicted) = oneshot::channel();
        let mut logging_in = self.logging_in();
        logging_in.last += 1;
        let number = logging_in.last;
        logging_in.connections.push_back((number, keep));
        while logging_in.connections.len() > self.settings.borrow().limits.logging_in
            && let Some((_, oldest)) = logging_in.connections.pop_front()
        {
            // One that has just ended needs no telling.
            let _ = oldest.send(());
        }
        (number, evicted)
    }

    fn leave(&self, number: u64) {
        self.logging_in()
            .connections
            .retain(|(other, _)| *other != number);
    }
}

/// Waits until there are others; never ends if there will be none.
async fn changed(mut settings: watch::Receiver<Arc<Settings>>) {
    if settings.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until it is said; never ends if it will not be.
async fn told(evicted: Option<oneshot::Receiver<()>>) {
    let said = match evicted {
        Some(evicted) => evicted.await.is_ok(),
        None => false,
    };
    if !said {
        std::future::pending::<()>().await;
    }
}

/// Why an accepted connection is dropped.
#[derive(Debug, thiserror::Error)]
enum Unserved {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Errno(#[from] rustix::io::Errno),
    #[error(transparent)]
    Protocol(#[from] super::protocol::Error),
}

fn peer(stream: BorrowedFd<'_>) -> Result<Peer, Unserved> {
    let (client, server) = (getpeername(stream)?, getsockname(stream)?);
    let client = client.ok_or(rustix::io::Errno::NOTCONN)?;
    if let (Ok(client), Ok(server)) = (SocketAddr::try_from(client.clone()), SocketAddr::try_from(server)) {
        return Ok(Peer::Tcp { client, server });
    }
    Ok(Peer::Vsock)
}
