//! The two virtqueues of the device: packets out of one, packets into the other.
//!
//! Everything here was written by the guest. Invariants: a chain is looked at once and copied before it is judged; a chain
//! that makes no sense is handed back empty; a ring whose indices make no sense is not touched again until the driver sets
//! it up anew.

use std::fs::File;
use std::io::Write;

use tracing::warn;

use super::memory::{Memory, Outside};
use super::packet::{HEADER_LEN, Header, MAX_PAYLOAD, Op};
use super::queue::{Piece, Queue, QueueError};

/// Largest queue size offered (QEMU uses 128).
pub(super) const MAX_QUEUE_SIZE: u16 = 1024;

/// One virtqueue and the event descriptors beside it.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Indices and addresses.
    pub queue: Queue,
    /// Signalled by the guest when it made buffers available.
    pub kick: Option<File>,
    /// To be signalled when buffers were used.
    pub call: Option<File>,
    /// Set by the front-end: the device may use the ring.
    pub enabled: bool,
    broken: bool,
}

/// A buffer the guest gave for a packet to it.
pub(super) struct Buffer {
    head: u16,
    pieces: Vec<Piece>,
    space: usize,
}

impl Buffer {
    /// Bytes of payload that fit after the header.
    pub(super) fn room(&self) -> usize {
        self.space.saturating_sub(HEADER_LEN).min(MAX_PAYLOAD)
    }
}

impl Ring {
    /// The front-end (re)starts the ring.
    pub(super) fn start(&mut self, mem: &Memory) {
        self.queue.ready = true;
        self.broken = !self.queue.is_valid(mem);
        if self.broken {
            warn!("the guest set up a vsock ring outside its memory");
        }
    }

    /// Whether packets may move.
    pub(super) fn is_running(&self) -> bool {
        self.enabled && self.queue.ready && !self.broken
    }

    fn check<T>(&mut self, result: Result<T, QueueError>) -> Option<T> {
        result
            .map_err(|error| {
                warn!("a vsock ring of the guest is left alone from now on: {error}");
                self.broken = true;
            })
            .ok()
    }

    /// Takes the next packet, its payload into `payload`. `None`: there is none. Chains that hold no packet are skipped.
    pub(super) fn take_packet<'a>(
        &mut self,
        mem: &Memory,
        payload: &'a mut [u8; MAX_PAYLOAD],
    ) -> Option<(Header, &'a [u8])> {
        while self.is_running() {
            let chain = self.queue.pop(mem);
            let chain = self.check(chain)??;
            let packet = read_packet(mem, &chain.readable, payload);
            let used = self.queue.give_back(mem, chain.head, 0);
            self.check(used)?;
            if let Some(header) = packet {
                return Some((header, payload.get(..header.len as usize)?));
            }
        }
        None
    }

    /// The next buffer for a packet to the guest. Buffers too small for a header are handed back.
    pub(super) fn take_buffer(&mut self, mem: &Memory) -> Option<Buffer> {
        while self.is_running() {
            let chain = self.queue.pop(mem);
            let chain = self.check(chain)??;
            let space = chain
                .writable
                .iter()
                .fold(0usize, |sum, piece| sum.saturating_add(piece.len));
            if space >= HEADER_LEN {
                return Some(Buffer {
                    head: chain.head,
                    pieces: chain.writable,
                    space,
                });
            }
            let used = self.queue.give_back(mem, chain.head, 0);
            self.check(used)?;
        }
        None
    }

    /// Fills a buffer. `payload` must not exceed its room: the excess would be cut off.
    pub(super) fn give_packet(&mut self, mem: &Memory, buffer: &Buffer, header: &Header, payload: &[u8]) {
        let mut cursor = Cursor::new(&buffer.pieces);
        let written = cursor
            .write(mem, &header.encode())
            .and_then(|()| cursor.write(mem, payload));
        let len = written.map_or(0, |()| cursor.moved);
        let used = self
            .queue
            .give_back(mem, buffer.head, u32::try_from(len).unwrap_or(0));
        self.check(used);
    }

    /// Hands a buffer back empty.
    pub(super) fn give_nothing(&mut self, mem: &Memory, buffer: &Buffer) {
        let used = self.queue.give_back(mem, buffer.head, 0);
        self.check(used);
    }

    /// Undoes the last [`Ring::take_buffer`].
    pub(super) fn put_back(&mut self, _buffer: Buffer) {
        self.queue.put_back();
    }

    /// Asks the guest for a kick when it makes more available; true if it already did.
    pub(super) fn enable_kicks(&mut self, mem: &Memory) -> bool {
        if !self.is_running() {
            return false;
        }
        let enabled = self.queue.want_kicks(mem, true);
        self.check(enabled).unwrap_or(false)
    }

    /// Asks the guest for quiet while the ring is being worked on.
    pub(super) fn disable_kicks(&mut self, mem: &Memory) {
        if self.is_running() {
            let disabled = self.queue.want_kicks(mem, false);
            self.check(disabled);
        }
    }

    /// Tells the guest of used buffers, if it wants to hear. To be called once after each batch.
    pub(super) fn notify(&mut self, mem: &Memory) {
        if !self.is_running() {
            return;
        }
        let needed = self.queue.should_notify(mem);
        if self.check(needed).unwrap_or(false)
            && let Some(mut call) = self.call.as_ref()
        {
            // An event counter that is full has been heard anyway.
            let _ = call.write(&1u64.to_ne_bytes());
        }
    }
}

/// A header whose payload is missing or too long says nothing the protocol knows, so the connection will end over it:
/// leaving the packet out would leave a hole in the stream.
fn read_packet(mem: &Memory, pieces: &[Piece], payload: &mut [u8; MAX_PAYLOAD]) -> Option<Header> {
    let mut cursor = Cursor::new(pieces);
    let mut raw = [0; HEADER_LEN];
    cursor.read(mem, &mut raw).ok()?;
    let header = Header::decode(&raw);
    let whole = payload
        .get_mut(..header.len as usize)
        .is_some_and(|room| cursor.read(mem, room).is_ok());
    Some(if whole {
        header
    } else {
        Header {
            op: Op::Unknown(0),
            len: 0,
            ..header
        }
    })
}

/// A place in a list of pieces.
struct Cursor<'a> {
    pieces: &'a [Piece],
    /// Bytes of the first piece that are behind.
    within: usize,
    moved: usize,
}

impl<'a> Cursor<'a> {
    fn new(pieces: &'a [Piece]) -> Self {
        Self {
            pieces,
            within: 0,
            moved: 0,
        }
    }

    fn read(&mut self, mem: &Memory, mut into: &mut [u8]) -> Result<(), Outside> {
        while !into.is_empty() {
            let (address, len) = self.step(into.len())?;
            let (now, later) = into.split_at_mut(len);
            mem.read(address, now)?;
            into = later;
        }
        Ok(())
    }

    fn write(&mut self, mem: &Memory, mut bytes: &[u8]) -> Result<(), Outside> {
        while !bytes.is_empty() {
            let (address, len) = self.step(bytes.len())?;
            let (now, later) = bytes.split_at(len);
            mem.write(address, now)?;
            bytes = later;
        }
        Ok(())
    }

    /// The next `wanted` bytes, or fewer where a piece ends.
    fn step(&mut self, wanted: usize) -> Result<(u64, usize), Outside> {
        loop {
            let piece = self.pieces.first().ok_or(Outside)?;
            let len = wanted.min(piece.len - self.within);
            if len == 0 {
                self.pieces = &self.pieces[1..];
                self.within = 0;
                continue;
            }
            let address = piece.address + self.within as u64;
            self.within += len;
            self.moved += len;
            return Ok((address, len));
        }
    }
}
