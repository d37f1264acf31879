//! The worker's traffic: packets out of the guest's rings into the host's streams, and back.
//!
//! Invariants: no turn lasts longer than [`TURN`] packets each way, so that neither the guest nor one host stream keeps
//! the rest waiting; the guest is told of used buffers once a turn.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

use tracing::debug;

use super::super::control::Control;
use super::super::host::Written;
use super::super::memory::Memory;
use super::super::mux::{Effect, MAX_CONNECTIONS, Output};
use super::super::packet::{Halves, Header, MAX_PAYLOAD};
use super::super::rings::Ring;
use super::{DIAL_TIMEOUT, Dial, Role, Worker, lock};

/// Packets each way before other events are looked at.
const TURN: usize = 256;

impl Worker {
    /// Moves what can be moved, up to a turn's worth. True if there is more.
    pub(super) fn move_packets(&mut self, payload: &mut [u8; MAX_PAYLOAD], now: Instant) -> bool {
        let control = Arc::clone(&self.control);
        let mut control = lock(&control);
        let Control {
            mem, rings: [rx, tx], ..
        } = &mut *control;
        let drained = self.take_packets(mem, tx, payload, now);
        let starved = self.give_packets(mem, rx, payload, now);
        !drained && self.mux.accepts_packets() || !starved && self.mux.has_output()
    }

    /// Takes packets from the guest. True once there are no more.
    fn take_packets(
        &mut self,
        mem: &Memory,
        tx: &mut Ring,
        payload: &mut [u8; MAX_PAYLOAD],
        now: Instant,
    ) -> bool {
        tx.disable_kicks(mem);
        let mut drained = false;
        for _ in 0..TURN {
            if !self.mux.accepts_packets() {
                break;
            }
            if let Some((header, payload)) = tx.take_packet(mem, payload) {
                self.metrics.tx_packets_count.add(1);
                let effect = self.mux.receive(&header);
                self.apply(effect, payload, now);
            } else if !tx.enable_kicks(mem) {
                drained = true;
                break;
            }
        }
        tx.notify(mem);
        drained
    }

    fn apply(&mut self, effect: Effect, payload: &[u8], now: Instant) {
        match effect {
            Effect::None => {}
            Effect::Dial(id, port) if self.peers.len() + self.dials.len() < MAX_CONNECTIONS => {
                self.dial(
                    Dial {
                        id,
                        port,
                        retry: now,
                        give_up: now + DIAL_TIMEOUT,
                    },
                    now,
                );
            }
            Effect::Dial(id, _) => self.mux.reset(id),
            Effect::Accepted(id, port) => {
                let answer = format!("OK {port}\n");
                let written = self
                    .peers
                    .get(&id)
                    .map(|peer| (&peer.stream.socket).write(answer.as_bytes()));
                // A socket nothing was written to yet has room for a line, unless nobody is left to read it.
                if !matches!(written, Some(Ok(count)) if count == answer.len()) {
                    self.mux.reset(id);
                    self.close(id);
                }
            }
            Effect::Deliver(id) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    let written = peer.stream.write(payload);
                    self.after_write(id, &written);
                }
            }
            Effect::Half(id, halves) => {
                let Some(peer) = self.peers.get_mut(&id) else {
                    return;
                };
                if halves.receiving {
                    let _ = peer.stream.socket.shutdown(Shutdown::Read);
                }
                if halves.sending {
                    peer.role = Role::Connected { shut: true };
                    self.after_write(id, &Written::Bytes(0));
                }
            }
            Effect::Finish(id) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.role = Role::Leaving;
                    self.after_write(id, &Written::Bytes(0));
                }
            }
            Effect::Close(id) => {
                self.dials.retain(|dial| dial.id != id);
                self.close(id);
            }
        }
    }

    /// Gives packets to the guest. True once it has no more buffers for them.
    fn give_packets(
        &mut self,
        mem: &Memory,
        rx: &mut Ring,
        payload: &mut [u8; MAX_PAYLOAD],
        now: Instant,
    ) -> bool {
        rx.disable_kicks(mem);
        let mut starved = false;
        for _ in 0..TURN {
            if !self.mux.has_output() {
                break;
            }
            let Some(buffer) = rx.take_buffer(mem) else {
                if rx.enable_kicks(mem) {
                    continue;
                }
                starved = true;
                break;
            };
            match self.fill(buffer.room(), payload, now) {
                Filled::Packet(header) => {
                    self.metrics.rx_packets_count.add(1);
                    rx.give_packet(
                        mem,
                        &buffer,
                        &header,
                        payload.get(..header.len as usize).unwrap_or_default(),
                    );
                }
                Filled::TooSmall => rx.give_nothing(mem, &buffer),
                Filled::Nothing => rx.put_back(buffer),
            }
        }
        rx.notify(mem);
        starved
    }

    /// The next packet for the guest, its payload in `payload`.
    fn fill(&mut self, room: usize, payload: &mut [u8; MAX_PAYLOAD], now: Instant) -> Filled {
        while let Some(output) = self.mux.next(now) {
            let (id, limit) = match output {
                Output::Packet(header) => return Filled::Packet(header),
                Output::Data(id, limit) => (id, limit as usize),
            };
            let Some(peer) = self.peers.get_mut(&id) else {
                self.mux.host_drained(id);
                continue;
            };
            if room == 0 {
                self.mux.host_readable(id);
                return Filled::TooSmall;
            }
            let space = payload.get_mut(..room.min(limit)).unwrap_or_default();
            match peer.stream.socket.read(space) {
                Ok(0) => self.mux.host_gives_up(
                    id,
                    Halves {
                        receiving: false,
                        sending: true,
                    },
                ),
                Ok(count) => {
                    self.metrics.rx_bytes_count.add(count as u64);
                    if let Some(header) = u32::try_from(count)
                        .ok()
                        .and_then(|count| self.mux.sent(id, count))
                    {
                        return Filled::Packet(header);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.mux.host_drained(id),
                Err(error) if error.kind() == ErrorKind::Interrupted => self.mux.host_readable(id),
                Err(error) => {
                    debug!("a vsock connection is reset: its host stream broke: {error}");
                    self.metrics.rx_read_fails.add(1);
                    self.mux.reset(id);
                    self.close(id);
                }
            }
        }
        Filled::Nothing
    }
}

/// What a buffer of the guest was filled with.
enum Filled {
    Packet(Header),
    TooSmall,
    Nothing,
}
