//! The guest's memory and the two virtqueues in it: packets out of one, packets into the other.
//!
//! Everything here was written by the guest. Invariants: a chain is looked at once, through bounds-checked slices, and
//! copied before it is judged; a chain that makes no sense is handed back empty; a ring whose indices make no sense is
//! not touched again until the driver sets it up anew.

use std::fs::File;
use std::io::{Read, Write};

use tracing::warn;
use virtio_queue::{Queue, QueueOwnedT, QueueT, Reader, Writer};
use vm_memory::GuestMemoryMmap;

use super::packet::{HEADER_LEN, Header, MAX_PAYLOAD, Op};

/// Largest queue size offered (QEMU uses 128).
pub(super) const MAX_QUEUE_SIZE: u16 = 1024;

/// One virtqueue and the event descriptors beside it.
#[derive(Debug)]
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
pub(super) struct Buffer<'a> {
    head: u16,
    writer: Writer<'a>,
}

impl Buffer<'_> {
    /// Bytes of payload that fit after the header.
    pub(super) fn room(&self) -> usize {
        self.writer
            .available_bytes()
            .saturating_sub(HEADER_LEN)
            .min(MAX_PAYLOAD)
    }
}

impl Ring {
    /// A ring without addresses.
    pub(super) fn new() -> Result<Self, virtio_queue::Error> {
        Ok(Self {
            queue: Queue::new(MAX_QUEUE_SIZE)?,
            kick: None,
            call: None,
            enabled: false,
            broken: false,
        })
    }

    /// The front-end (re)starts the ring.
    pub(super) fn start(&mut self, mem: &GuestMemoryMmap) {
        self.queue.set_ready(true);
        self.broken = !self.queue.is_valid(mem);
        if self.broken {
            warn!("the guest set up a vsock ring outside its memory");
        }
    }

    /// Whether packets may move.
    pub(super) fn is_running(&self) -> bool {
        self.enabled && self.queue.ready() && !self.broken
    }

    fn check<T>(&mut self, result: Result<T, virtio_queue::Error>) -> Option<T> {
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
        mem: &GuestMemoryMmap,
        payload: &'a mut [u8; MAX_PAYLOAD],
    ) -> Option<(Header, &'a [u8])> {
        while self.is_running() {
            let chain = self.queue.iter(mem).map(|mut chains| chains.next());
            let chain = self.check(chain)??;
            let head = chain.head_index();
            let packet = chain
                .reader(mem)
                .ok()
                .and_then(|mut reader| read_packet(&mut reader, payload));
            let used = self.queue.add_used(mem, head, 0);
            self.check(used)?;
            if let Some(header) = packet {
                return Some((header, payload.get(..header.len as usize)?));
            }
        }
        None
    }

    /// The next buffer for a packet to the guest. Buffers too small for a header are handed back.
    pub(super) fn take_buffer<'a>(&mut self, mem: &'a GuestMemoryMmap) -> Option<Buffer<'a>> {
        while self.is_running() {
            let chain = self.queue.iter(mem).map(|mut chains| chains.next());
            let chain = self.check(chain)??;
            let head = chain.head_index();
            match chain.writer(mem) {
                Ok(writer) if writer.available_bytes() >= HEADER_LEN => return Some(Buffer { head, writer }),
                _ => {
                    let used = self.queue.add_used(mem, head, 0);
                    self.check(used)?;
                }
            }
        }
        None
    }

    /// Fills a buffer. `payload` must not exceed its room: the excess would be cut off.
    pub(super) fn give_packet(
        &mut self,
        mem: &GuestMemoryMmap,
        mut buffer: Buffer<'_>,
        header: &Header,
        payload: &[u8],
    ) {
        let written = buffer
            .writer
            .write_all(&header.encode())
            .and_then(|()| buffer.writer.write_all(payload));
        let len = if written.is_ok() {
            buffer.writer.bytes_written()
        } else {
            0
        };
        let used = self
            .queue
            .add_used(mem, buffer.head, u32::try_from(len).unwrap_or(0));
        self.check(used);
    }

    /// Hands a buffer back empty.
    pub(super) fn give_nothing(&mut self, mem: &GuestMemoryMmap, buffer: &Buffer<'_>) {
        let used = self.queue.add_used(mem, buffer.head, 0);
        self.check(used);
    }

    /// Undoes the last [`Ring::take_buffer`].
    pub(super) fn put_back(&mut self, _buffer: Buffer<'_>) {
        self.queue.go_to_previous_position();
    }

    /// Asks the guest for a kick when it makes more available; true if it already did.
    pub(super) fn enable_kicks(&mut self, mem: &GuestMemoryMmap) -> bool {
        if !self.is_running() {
            return false;
        }
        let enabled = self.queue.enable_notification(mem);
        self.check(enabled).unwrap_or(false)
    }

    /// Asks the guest for quiet while the ring is being worked on.
    pub(super) fn disable_kicks(&mut self, mem: &GuestMemoryMmap) {
        if self.is_running() {
            let disabled = self.queue.disable_notification(mem);
            self.check(disabled);
        }
    }

    /// Tells the guest of used buffers, if it wants to hear. To be called once after each batch.
    pub(super) fn notify(&mut self, mem: &GuestMemoryMmap) {
        if !self.is_running() {
            return;
        }
        let needed = self.queue.needs_notification(mem);
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
fn read_packet(reader: &mut Reader<'_>, payload: &mut [u8; MAX_PAYLOAD]) -> Option<Header> {
    let mut raw = [0; HEADER_LEN];
    reader.read_exact(&mut raw).ok()?;
    let header = Header::decode(&raw);
    let whole = payload
        .get_mut(..header.len as usize)
        .is_some_and(|room| reader.read_exact(room).is_ok());
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
