//! One channel, as the task that serves it sees it.
//!
//! The invariant: a channel whose task is gone is closed, whatever ended the task.

use std::sync::Arc;

use tokio::sync::Notify;

use super::hub::Hub;
use super::protocol::connection::{self, Peer};
use super::protocol::message::{self, OpenFailure};
use super::protocol::wire::Put as _;
use super::slot::{Closed, MAX_DATA, WINDOW};

/// The capacity a queue may keep when it is empty.
const KEEP: usize = 64 * 1024;

/// Wakes whoever waits on a channel: to read, to write, or for its end.
#[derive(Debug, Default)]
pub(super) struct Signals {
    changed: Notify,
}

impl Signals {
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }
}

/// A handle on a channel. Dropping it closes the channel.
#[derive(Debug)]
pub(super) struct Channel {
    hub: Arc<Hub>,
    id: u32,
    signals: Arc<Signals>,
}

/// What [`Channel::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Data,
    /// The client will send no more, here or at all.
    End,
}

impl Channel {
    pub(super) fn new(hub: Arc<Hub>, id: u32, signals: Arc<Signals>) -> Self {
        Self { hub, id, signals }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// The connection it belongs to.
    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Tells the client that its channel is open.
    pub(super) fn confirm(&self) -> Result<(), Closed> {
        let own = Peer {
            id: self.id,
            window: WINDOW,
            max_packet: MAX_DATA,
        };
        self.hub.slot(self.id, |slot, transport| {
            slot.open = true;
            transport
                .send(|out| connection::confirm(out, slot.peer.id, own))
                .map_err(|_| Closed)
        })?
    }

    /// Tells the client that its channel is not opened.
    pub(super) fn refuse(self, failure: OpenFailure, text: &str) {
        self.hub.refuse(self.id, failure, text);
    }

    /// Runs `check` at each change of the channel, and of the room for data if `room`, until it has a value.
    async fn until<T>(
        &self,
        room: bool,
        mut check: impl FnMut() -> Option<Result<T, Closed>>,
    ) -> Result<T, Closed> {
        loop {
            let changed = self.signals.changed.notified();
            let more_room = self.hub.room.notified();
            tokio::pin!(changed, more_room);
            changed.as_mut().enable();
            more_room.as_mut().enable();
            if let Some(value) = check() {
                return value;
            }
            tokio::select! {
                () = changed => {}
                () = more_room, if room => {}
            }
        }
    }

    /// Waits for the client's consent to a channel of this side.
    pub(super) async fn opened(&self) -> Result<(), Closed> {
        self.until(false, || match self.hub.slot(self.id, |slot, _| slot.open) {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(closed) => Some(Err(closed)),
        })
        .await
    }

    /// Waits until the client, or the network, has closed the channel.
    pub(super) async fn closed(&self) {
        let closed = || match self.hub.slot(self.id, |slot, _| slot.close_received) {
            Ok(false) => None,
            Ok(true) | Err(Closed) => Some(Ok(())),
        };
        let _ = self.until(false, closed).await;
    }

    /// Swaps what came in with `into`, whose content is dropped. What was used up must be told to [`Self::used`].
    pub(super) async fn receive(&self, into: &mut Vec<u8>) -> Received {
        into.clear();
        // After a burst a quiet channel does not keep its memory.
        into.shrink_to(KEEP);
        let received = self.until(false, || {
            let found = self.hub.slot(self.id, |slot, _| {
                if !slot.queue.is_empty() {
                    std::mem::swap(&mut slot.queue, into);
                    Some(Received::Data)
                } else if slot.eof_received {
                    Some(Received::End)
                } else {
                    None
                }
            });
            found.transpose()
        });
        received.await.unwrap_or(Received::End)
    }

    /// `bytes` of what was received are used up: the client may send as many more.
    pub(super) fn used(&self, bytes: usize) {
        // A closed channel has no window to open.
        let _ = self
            .hub
            .slot(self.id, |slot, transport| slot.use_up(bytes, transport));
    }

    /// Sends all of `data`, as fast as the client and the network take it.
    pub(super) async fn send(&self, mut data: &[u8], stderr: bool) -> Result<(), Closed> {
        while !data.is_empty() {
            let sent = self.until(true, || {
                let sent = self
                    .hub
                    .slot(self.id, |slot, transport| slot.send(data, stderr, transport));
                match sent.and_then(|sent| sent) {
                    Ok(0) => None,
                    other => Some(other),
                }
            });
            let sent = sent.await?;
            data = data.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// No more data will be sent.
    pub(super) fn eof(&self) {
        let _ = self.hub.slot(self.id, |slot, transport| {
            if slot.open && !slot.eof_sent && !slot.close_sent {
                slot.eof_sent = true;
                let _ = transport.send(|out| connection::bare(out, message::CHANNEL_EOF, slot.peer.id));
            }
        });
    }

    /// Answers a request.
    pub(super) fn reply(&self, success: bool) {
        let number = if success {
            message::CHANNEL_SUCCESS
        } else {
            message::CHANNEL_FAILURE
        };
        let _ = self.hub.slot(self.id, |slot, transport| {
            if !slot.close_sent {
                let _ = transport.send(|out| connection::bare(out, number, slot.peer.id));
            }
        });
    }

    /// Says how the program ended: its exit code.
    pub(super) fn exit_status(&self, code: u32) {
        let _ = self.hub.slot(self.id, |slot, transport| {
            slot.request("exit-status", transport, |out| out.put_u32(code));
        });
    }

    /// Says how the program ended: the name of the signal, without `SIG`, that killed it.
    pub(super) fn exit_signal(&self, name: &str, core: bool) {
        let _ = self.hub.slot(self.id, |slot, transport| {
            slot.request("exit-signal", transport, |out| {
                connection::exit_signal(out, name, core);
            });
        });
    }

    /// Tells an OpenSSH client that nobody reads what it sends (OpenSSH's PROTOCOL, section 2.1).
    pub(super) fn end_of_write(&self) {
        let _ = self.hub.slot(self.id, |slot, transport| {
            if transport
                .client_ident()
                .is_some_and(|ident| ident.starts_with(b"SSH-2.0-OpenSSH"))
            {
                slot.request("eow@openssh.com", transport, |_| {});
            }
        });
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.hub.abandon(self.id);
    }
}
