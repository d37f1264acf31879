//! HTTP on one connection of the guest's.
//!
//! Invariant: at most [`MAX_REQUEST`] bytes of request are held, and one response at a time.

use std::collections::VecDeque;
use std::time::Instant;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};

use super::super::Mmds;
use super::super::http::{MAX_REQUEST, find_end};
use super::PORT;

/// One connection.
pub(super) struct Server {
    pub(super) socket: SocketHandle,
    request: Vec<u8>,
    response: VecDeque<u8>,
    /// When the guest last said something.
    pub(super) active: Instant,
    was_connected: bool,
}

impl Server {
    pub(super) fn new(socket: SocketHandle, now: Instant) -> Self {
        Self {
            socket,
            request: Vec::new(),
            response: VecDeque::new(),
            active: now,
            was_connected: false,
        }
    }

    /// Moves one connection on. True if the stack has something to do about it.
    pub(super) fn work(&mut self, socket: &mut Socket<'_>, mmds: &Mmds, now: Instant) -> bool {
        let is_connected = socket.is_active();
        if is_connected != self.was_connected {
            self.was_connected = is_connected;
            let metrics = mmds.metrics();
            if is_connected {
                &metrics.connections_created
            } else {
                &metrics.connections_destroyed
            }
            .add(1);
            self.active = now;
        }
        if socket.state() == State::Closed {
            self.request.clear();
            self.response.clear();
            return socket.listen(PORT).is_ok();
        }
        let mut busy = false;
        while self.read(socket, now) | self.respond(mmds, now) | self.write(socket) {
            busy = true;
        }
        if self.request.len() > MAX_REQUEST && self.response.is_empty() {
            socket.abort();
            return true;
        }
        // The guest has ended its side and has all it asked for.
        if socket.state() == State::CloseWait && self.response.is_empty() && !socket.can_recv() {
            socket.close();
            return true;
        }
        busy
    }

    fn read(&mut self, socket: &mut Socket<'_>, now: Instant) -> bool {
        let room = (MAX_REQUEST + 1).saturating_sub(self.request.len());
        if room == 0 || !socket.can_recv() {
            return false;
        }
        self.active = now;
        let taken = socket.recv(|bytes| {
            let count = bytes.len().min(room);
            self.request
                .extend_from_slice(bytes.get(..count).unwrap_or_default());
            (count, count)
        });
        taken.is_ok_and(|count| count > 0)
    }

    /// One request at a time: the next one waits until this one's response is with the stack.
    fn respond(&mut self, mmds: &Mmds, now: Instant) -> bool {
        if !self.response.is_empty() {
            return false;
        }
        let Some(end) = find_end(&self.request) else {
            return false;
        };
        let request: Vec<u8> = self.request.drain(..end).collect();
        self.response = mmds.respond(&request, now).into();
        true
    }

    fn write(&mut self, socket: &mut Socket<'_>) -> bool {
        let (front, _) = self.response.as_slices();
        if front.is_empty() {
            return false;
        }
        match socket.send_slice(front) {
            Ok(count) => {
                self.response.drain(..count);
                count > 0
            }
            // Nobody is left to answer.
            Err(_) => {
                self.response.clear();
                true
            }
        }
    }
}
