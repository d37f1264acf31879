//! One split virtqueue (virtio 1.2, section 2.7), device side.
//!
//! Invariant: whatever the driver writes, no more than `size` descriptors of a chain are looked at, each one once, and
//! nothing outside the guest's memory. What makes no sense is an error, after which the queue is left alone.

use std::num::Wrapping;
use std::sync::atomic::{Ordering, fence};

use super::memory::{Memory, Outside};

const DESC_NEXT: u16 = 1;
const DESC_WRITE: u16 = 2;
const DESC_INDIRECT: u16 = 4;
const DESC_LEN: usize = 16;
/// `VIRTQ_USED_F_NO_NOTIFY`
const NO_NOTIFY: u16 = 1;

/// Why a queue cannot be used on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueueError {
    #[error(transparent)]
    Outside(#[from] Outside),
    #[error("more was made available than the ring can hold")]
    TooMuch,
    #[error("a chain begins beyond the table of descriptors")]
    Head,
}

/// A queue and how far both sides have come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Descriptors: a power of two.
    pub(super) size: u16,
    /// Guest addresses of the three parts.
    pub(super) table: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    /// The next entry of the available ring.
    pub(super) next_available: Wrapping<u16>,
    /// The next entry of the used ring.
    pub(super) next_used: Wrapping<u16>,
    /// Whether both sides say where they want to hear of the other (`VIRTIO_F_EVENT_IDX`).
    pub(super) event_idx: bool,
    /// The front-end has set it up.
    pub(super) ready: bool,
    /// Used since the driver was last asked whether it wants to hear.
    fresh: Wrapping<u16>,
}

/// A piece of the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) address: u64,
    pub(super) len: usize,
}

/// A chain of descriptors: what the device may read and what it may write.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) head: u16,
    pub(super) readable: Vec<Piece>,
    pub(super) writable: Vec<Piece>,
}

#[derive(Debug, Clone, Copy)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Queue {
    /// Whether all three parts are the guest's memory, in their places.
    pub(super) fn is_valid(&self, memory: &Memory) -> bool {
        let size = usize::from(self.size);
        let aligned =
            self.table.is_multiple_of(16) && self.available.is_multiple_of(2) && self.used.is_multiple_of(4);
        self.ready
            && aligned
            && self.size.is_power_of_two()
            && memory.contains(self.table, DESC_LEN * size)
            && memory.contains(self.available, 6 + 2 * size)
            && memory.contains(self.used, 6 + 8 * size)
    }

    /// Where the device left off, by the ring itself.
    pub(super) fn used_index(&self, memory: &Memory) -> Result<u16, Outside> {
        memory.load(self.used.wrapping_add(2))
    }

    /// The next chain, if the driver has made one available.
    pub(super) fn pop(&mut self, memory: &Memory) -> Result<Option<Chain>, QueueError> {
        let made = Wrapping(memory.load(self.available.wrapping_add(2))?) - self.next_available;
        if made.0 > self.size {
            return Err(QueueError::TooMuch);
        }
        if made.0 == 0 {
            return Ok(None);
        }
        let place = self.next_available.0 % self.size;
        let mut head = [0; 2];
        memory.read(self.available.wrapping_add(4 + 2 * u64::from(place)), &mut head)?;
        self.next_available += 1;
        Ok(Some(self.walk(memory, u16::from_le_bytes(head))))
    }

    /// Undoes the last [`Queue::pop`].
    pub(super) fn put_back(&mut self) {
        self.next_available -= 1;
    }

    /// A chain as far as it makes sense. What is to be read comes before what is to be written (section 2.7.4.2).
    fn walk(&self, memory: &Memory, head: u16) -> Chain {
        let mut chain = Chain {
            head,
            ..Chain::default()
        };
        let (mut table, mut size, mut at) = (self.table, self.size, head);
        let mut indirect = false;
        for _ in 0..self.size {
            let Some(descriptor) = descriptor(memory, table, size, at) else {
                break;
            };
            if descriptor.flags & DESC_INDIRECT != 0 {
                let count = descriptor.len / 16;
                let fits = descriptor.len.is_multiple_of(16) && count > 0;
                match u16::try_from(count) {
                    Ok(count) if fits && !indirect && descriptor.flags & DESC_NEXT == 0 => {
                        (table, size, at, indirect) = (descriptor.address, count, 0, true);
                        continue;
                    }
                    _ => break,
                }
            }
            let piece = Piece {
                address: descriptor.address,
                len: descriptor.len as usize,
            };
            if !memory.contains(piece.address, piece.len) {
                chain.readable.clear();
                chain.writable.clear();
                break;
            }
            if descriptor.flags & DESC_WRITE != 0 {
                chain.writable.push(piece);
            } else if chain.writable.is_empty() {
                chain.readable.push(piece);
            }
            if descriptor.flags & DESC_NEXT == 0 {
                break;
            }
            at = descriptor.next;
        }
        chain
    }

    /// Hands a chain back, `len` bytes of it written.
    pub(super) fn give_back(&mut self, memory: &Memory, head: u16, len: u32) -> Result<(), QueueError> {
        if head >= self.size {
            return Err(QueueError::Head);
        }
        let place = u64::from(self.next_used.0 % self.size);
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(head).to_le_bytes());
        element[4..].copy_from_slice(&len.to_le_bytes());
        memory.write(self.used.wrapping_add(4 + 8 * place), &element)?;
        self.next_used += 1;
        self.fresh += 1;
        memory.store(self.used.wrapping_add(2), self.next_used.0)?;
        Ok(())
    }

    /// Says whether the driver is to tell of what it makes available. True if it already has, unheard.
    pub(super) fn want_kicks(&mut self, memory: &Memory, wanted: bool) -> Result<bool, QueueError> {
        match (self.event_idx, wanted) {
            (true, true) => {
                let place = self.used.wrapping_add(4 + 8 * u64::from(self.size));
                memory.store(place, self.next_available.0)?;
            }
            (true, false) => {}
            (false, wanted) => memory.store(self.used, if wanted { 0 } else { NO_NOTIFY })?,
        }
        if !wanted {
            return Ok(false);
        }
        // The driver must see the wish before the device looks for the last time.
        fence(Ordering::SeqCst);
        let made = memory.load(self.available.wrapping_add(2))?;
        Ok(made != self.next_available.0)
    }

    /// Whether the driver wants to hear of what was used since this was last asked (section 2.7.7.2).
    pub(super) fn should_notify(&mut self, memory: &Memory) -> Result<bool, QueueError> {
        // What was used must be seen before the driver's wish is read.
        fence(Ordering::SeqCst);
        let fresh = std::mem::take(&mut self.fresh);
        if !self.event_idx {
            return Ok(true);
        }
        let place = self.available.wrapping_add(4 + 2 * u64::from(self.size));
        let wanted = Wrapping(memory.load(place)?);
        Ok(self.next_used - wanted - Wrapping(1) < fresh)
    }
}

fn descriptor(memory: &Memory, table: u64, size: u16, at: u16) -> Option<Descriptor> {
    if at >= size {
        return None;
    }
    let mut bytes = [0; DESC_LEN];
    let address = table.checked_add(DESC_LEN as u64 * u64::from(at))?;
    memory.read(address, &mut bytes).ok()?;
    let (address, rest) = bytes.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (flags, rest) = rest.split_first_chunk::<2>()?;
    let next = rest.first_chunk::<2>()?;
    Some(Descriptor {
        address: u64::from_le_bytes(*address),
        len: u32::from_le_bytes(*len),
        flags: u16::from_le_bytes(*flags),
        next: u16::from_le_bytes(*next),
    })
}
