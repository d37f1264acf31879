//! What the tasks of one connection share: its transport and its channels.
//!
//! The invariant is bounded memory. A client is told that it may send more on a channel only once what it sent there was
//! used up, so that at most [`WINDOW`] bytes wait per channel and no channel can hold up another. And a task may
//! hand over data only while little waits for the network, so that a slow client slows its own programs down.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use tokio::sync::{Notify, mpsc};

use super::channel::{Channel, Signals};
use super::protocol::Error;
use super::protocol::connection::{self, Peer};
use super::protocol::message::{self, OpenFailure, Reason};
use super::protocol::transport::Transport;
use super::session::Request;
use super::slot::{Closed, MAX_DATA, Slot, WINDOW};

/// While more bytes than this wait for the network nothing is read from the client either: it asks more than it listens.
const OUTPUT_FULL: usize = 1024 * 1024;

/// How many bytes are read from the network at once.
const READ: usize = 128 * 1024;

/// How many requests of one session may wait for an answer.
const MAX_REQUESTS: usize = 256;

/// One connection, as its tasks see it.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// There is something to send.
    output: Notify,
    /// There is room for data again.
    pub(super) room: Notify,
    max_channels: usize,
}

#[derive(Debug)]
pub(super) struct State {
    transport: Transport,
    channels: BTreeMap<u32, Slot>,
    last_id: u32,
    closed: bool,
}

impl Hub {
    pub(super) fn new(transport: Transport, max_channels: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                transport,
                channels: BTreeMap::new(),
                last_id: 0,
                closed: false,
            }),
            output: Notify::new(),
            room: Notify::new(),
            max_channels,
        })
    }

    /// No code between a lock and its release panics; were it so, the state would still be whole.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the next message for the layers above the transport into `payload`. `false`: more bytes are needed.
    pub(super) fn next_message(&self, payload: &mut Vec<u8>) -> Result<bool, Error> {
        let mut state = self.state();
        let was_open = state.transport.is_open();
        let found = state.transport.next_message(payload);
        let reopened = !was_open && state.transport.is_open();
        drop(state);
        if reopened {
            self.room.notify_waiters();
        }
        found
    }

    /// Runs `with` on the transport, to look something up.
    pub(super) fn look<T>(&self, with: impl FnOnce(&Transport) -> T) -> T {
        with(&self.state().transport)
    }

    /// Sends one message.
    pub(super) fn send(&self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        self.state().transport.send(write)?;
        self.output.notify_one();
        Ok(())
    }

    /// Reads from the network into the transport. 0: the client has hung up.
    pub(super) fn fill(&self, fd: BorrowedFd<'_>) -> Result<usize, Errno> {
        self.state()
            .transport
            .receive(READ, |spare| rustix::io::read(fd, spare))
    }

    /// Whether there is room for more from the client.
    pub(super) fn may_read(&self) -> bool {
        self.state().transport.backlog() < OUTPUT_FULL
    }

    /// Swaps what is to be sent with `into`, which is empty; programs may then hand over more.
    pub(super) fn take_output(&self, into: &mut Vec<u8>) {
        let mut state = self.state();
        state.transport.take_output(into);
        let open = state.transport.is_open();
        drop(state);
        if open && !into.is_empty() {
            self.room.notify_waiters();
        }
    }

    /// Waits until there may be something to send.
    pub(super) async fn output(&self) {
        self.output.notified().await;
    }

    /// Says why the connection ends.
    pub(super) fn disconnect(&self, reason: Reason, text: &str) {
        // A transport that cannot even say this has nothing to say.
        let _ = self.state().transport.disconnect(reason, text);
    }

    /// Ends all channels: the network is gone.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for slot in std::mem::take(&mut state.channels).into_values() {
            slot.signals.wake();
        }
        drop(state);
        self.room.notify_waiters();
    }

    /// A channel for the client's `peer`, not yet confirmed; for a session with the way its requests take.
    pub(super) fn accept(
        self: &Arc<Self>,
        peer: Peer,
        requests: Option<mpsc::Sender<Request>>,
    ) -> Result<Channel, OpenFailure> {
        // A client that takes no bytes at a time could never be sent any.
        if peer.max_packet == 0 {
            return Err(OpenFailure::ResourceShortage);
        }
        self.add(peer, requests).ok_or(OpenFailure::ResourceShortage)
    }

    fn add(self: &Arc<Self>, peer: Peer, requests: Option<mpsc::Sender<Request>>) -> Option<Channel> {
        let mut state = self.state();
        if state.closed || state.channels.len() >= self.max_channels {
            return None;
        }
        let signals = Arc::new(Signals::default());
        let slot = Slot::new(peer, signals.clone(), requests);
        let id = state.free_id();
        state.channels.insert(id, slot);
        Some(Channel::new(self.clone(), id, signals))
    }

    /// Opens a channel of that kind on the client's side and waits for its consent; `rest` writes what the kind adds.
    pub(super) async fn open(
        self: &Arc<Self>,
        kind: &str,
        rest: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Channel, Closed> {
        let nobody = Peer {
            id: 0,
            window: 0,
            max_packet: 0,
        };
        let channel = self.add(nobody, None).ok_or(Closed)?;
        let own = Peer {
            id: channel.id(),
            window: WINDOW,
            max_packet: MAX_DATA,
        };
        self.send(|out| connection::open(out, kind, own, rest))
            .map_err(|_| Closed)?;
        channel.opened().await?;
        Ok(channel)
    }

    /// Runs `with` on a channel that is there, and wakes whoever writes.
    pub(super) fn slot<T>(
        &self,
        id: u32,
        with: impl FnOnce(&mut Slot, &mut Transport) -> T,
    ) -> Result<T, Closed> {
        let mut state = self.state();
        let State {
            transport, channels, ..
        } = &mut *state;
        let slot = channels.get_mut(&id).ok_or(Closed)?;
        let result = with(slot, transport);
        let backlog = transport.backlog();
        drop(state);
        if backlog > 0 {
            self.output.notify_one();
        }
        Ok(result)
    }

    /// The task of a channel is gone: closes it, and forgets it once the client has closed it too.
    pub(super) fn abandon(&self, id: u32) {
        let mut state = self.state();
        let State {
            transport, channels, ..
        } = &mut *state;
        let Some(slot) = channels.get_mut(&id) else {
            return;
        };
        slot.abandoned = true;
        slot.queue = Vec::new();
        let peer = slot.peer;
        if slot.open && !slot.close_sent {
            slot.close_sent = true;
            // A transport that fails here fails its connection's task too.
            let _ = transport.send(|out| connection::bare(out, message::CHANNEL_CLOSE, peer.id));
        } else if !slot.open && peer.max_packet > 0 {
            let text = "the server has given up";
            let _ = transport.send(|out| connection::refuse(out, peer.id, OpenFailure::ConnectFailed, text));
            channels.remove(&id);
        }
        if channels.get(&id).is_some_and(|slot| slot.close_received) {
            channels.remove(&id);
        }
        drop(state);
        self.output.notify_one();
    }

    /// Refuses a channel that the client wants and that nobody serves.
    pub(super) fn refuse(&self, id: u32, failure: OpenFailure, text: &str) {
        let slot = self.state().channels.remove(&id);
        if let Some(slot) = slot {
            let _ = self.send(|out| connection::refuse(out, slot.peer.id, failure, text));
        }
    }

    /// Deals with a message for a channel.
    pub(super) fn receive(&self, message: &connection::Message<'_>) -> Result<(), Error> {
        use connection::Message;
        let mut state = self.state();
        let State {
            transport, channels, ..
        } = &mut *state;
        let id = match message {
            Message::Confirmed { channel, .. }
            | Message::OpenFailed { channel }
            | Message::Window { channel, .. }
            | Message::Data { channel, .. }
            | Message::Extended { channel, .. }
            | Message::Eof { channel }
            | Message::Close { channel }
            | Message::Request { channel, .. } => *channel,
            Message::Global { .. } | Message::GlobalReply | Message::Open(_) | Message::Reply => {
                return Ok(());
            }
        };
        let Some(slot) = channels.get_mut(&id) else {
            // This side has closed it while the message was on its way, or the number is made up: both do no harm.
            return Ok(());
        };
        match *message {
            Message::Confirmed { peer, .. } => {
                if slot.open || peer.max_packet == 0 {
                    return Err(Error::Unexpected("a confirmation of a channel that is open"));
                }
                slot.peer = peer;
                slot.open = true;
                if slot.abandoned {
                    slot.close_sent = true;
                    transport.send(|out| connection::bare(out, message::CHANNEL_CLOSE, peer.id))?;
                }
            }
            Message::OpenFailed { .. } => {
                let signals = slot.signals.clone();
                if !slot.open {
                    channels.remove(&id);
                }
                signals.wake();
                return Ok(());
            }
            Message::Window { bytes, .. } => {
                slot.peer.window = slot
                    .peer
                    .window
                    .checked_add(bytes)
                    .ok_or(Error::Unexpected("a window of more than 4 GiB"))?;
            }
            Message::Data { data, .. } => slot.take(data)?,
            Message::Extended { length, .. } => {
                slot.claim(length)?;
                slot.use_up(length, transport)?;
            }
            Message::Eof { .. } => slot.eof_received = true,
            Message::Close { .. } => {
                if !slot.close_sent {
                    slot.close_sent = true;
                    let peer = slot.peer.id;
                    transport.send(|out| connection::bare(out, message::CHANNEL_CLOSE, peer))?;
                }
                // What came in before is still to be used by the channel's task.
                slot.eof_received = true;
                slot.close_received = true;
                slot.signals.wake();
                if slot.abandoned {
                    channels.remove(&id);
                }
                return Ok(());
            }
            Message::Request {
                kind,
                want_reply,
                ref rest,
                ..
            } => {
                let request = Request::parse(kind, want_reply, rest.clone())?;
                let Some(requests) = &slot.requests else {
                    if want_reply {
                        let peer = slot.peer.id;
                        transport.send(|out| connection::bare(out, message::CHANNEL_FAILURE, peer))?;
                    }
                    return Ok(());
                };
                match requests.try_send(request) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        return Err(Error::Unexpected("too many requests at once"));
                    }
                    // The session is over and its CLOSE is on its way.
                    Err(mpsc::error::TrySendError::Closed(_)) => {}
                }
                return Ok(());
            }
            Message::Global { .. } | Message::GlobalReply | Message::Open(_) | Message::Reply => {}
        }
        slot.signals.wake();
        Ok(())
    }
}

/// The way of a session's requests.
pub(super) fn requests() -> (mpsc::Sender<Request>, mpsc::Receiver<Request>) {
    mpsc::channel(MAX_REQUESTS)
}

impl State {
    fn free_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if !self.channels.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}
