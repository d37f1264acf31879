//! What this side knows of one channel, and SSH's flow control for it, RFC 4254 section 5.2.
//!
//! The invariant: what waits in a queue never exceeds the window that the client was given, and nothing is sent that the
//! client has no window for.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::channel::Signals;
use super::protocol::Error;
use super::protocol::connection::{self, Peer};
use super::protocol::transport::Transport;
use super::session::Request;

/// How many bytes a client may send on a channel before any is used up.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;

/// How many bytes of data a message may hold, RFC 4253 section 6.1.
pub(super) const MAX_DATA: u32 = 32 * 1024;

/// While more bytes than this wait for the network no data is taken from programs.
const OUTPUT_HIGH: usize = 256 * 1024;

/// This side's knowledge of a channel.
#[derive(Debug)]
pub(super) struct Slot {
    pub peer: Peer,
    /// The client has confirmed it, or this side has.
    pub open: bool,
    /// What the client may still send.
    pub window: u32,
    /// What was used up and the client has not been told of.
    pub used: u32,
    /// What came in and waits to be used.
    pub queue: Vec<u8>,
    pub eof_received: bool,
    pub eof_sent: bool,
    pub close_received: bool,
    pub close_sent: bool,
    /// No task serves it any more.
    pub abandoned: bool,
    pub signals: Arc<Signals>,
    /// Where the requests of a session go.
    pub requests: Option<mpsc::Sender<Request>>,
}

/// The channel is closed, or the whole connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the channel is closed")]
pub(super) struct Closed;

impl Slot {
    pub(super) fn new(peer: Peer, signals: Arc<Signals>, requests: Option<mpsc::Sender<Request>>) -> Self {
        Self {
            peer,
            open: false,
            window: WINDOW,
            used: 0,
            queue: Vec::new(),
            eof_received: false,
            eof_sent: false,
            close_received: false,
            close_sent: false,
            abandoned: false,
            signals,
            requests,
        }
    }

    /// Counts `length` bytes against what the client may send.
    pub(super) fn claim(&mut self, length: usize) -> Result<(), Error> {
        let left = u32::try_from(length)
            .ok()
            .and_then(|length| self.window.checked_sub(length));
        self.window = left.ok_or(Error::Unexpected("more data than its window allows"))?;
        Ok(())
    }

    /// Takes data that came in.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<(), Error> {
        if !self.open || self.eof_received {
            return Err(Error::Unexpected("data on a channel that takes none"));
        }
        self.claim(data.len())?;
        if !self.abandoned {
            self.queue.extend_from_slice(data);
        }
        Ok(())
    }

    /// Lets the client send `length` bytes more; it is told in larger steps.
    pub(super) fn use_up(&mut self, length: usize, transport: &mut Transport) -> Result<(), Error> {
        self.used = self
            .used
            .saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        if self.used < WINDOW / 4 || self.eof_received || self.close_sent {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.used);
        self.window = self.window.saturating_add(bytes);
        transport.send(|out| connection::window(out, self.peer.id, bytes))
    }

    /// Sends as much of `data` as may be sent now, and says how much that was.
    pub(super) fn send(
        &mut self,
        data: &[u8],
        stderr: bool,
        transport: &mut Transport,
    ) -> Result<usize, Closed> {
        if self.close_sent || self.eof_sent {
            return Err(Closed);
        }
        if !self.open || !transport.is_open() || transport.backlog() >= OUTPUT_HIGH {
            return Ok(0);
        }
        let most = self.peer.window.min(self.peer.max_packet).min(MAX_DATA) as usize;
        let Some(data) = data.get(..data.len().min(most)).filter(|data| !data.is_empty()) else {
            return Ok(0);
        };
        transport
            .send(|out| connection::data(out, self.peer.id, stderr, data))
            .map_err(|_| Closed)?;
        self.peer.window -= u32::try_from(data.len()).unwrap_or(self.peer.window);
        Ok(data.len())
    }

    /// Sends a channel request that wants no answer.
    pub(super) fn request(&self, kind: &str, transport: &mut Transport, rest: impl FnOnce(&mut Vec<u8>)) {
        if !self.close_sent {
            // A transport that fails here fails its connection's task too.
            let _ = transport.send(|out| connection::request(out, self.peer.id, kind, rest));
        }
    }
}
