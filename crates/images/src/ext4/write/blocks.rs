//! Blocks, written one after the other.
//!
//! The invariant: each block is written at most once, at the end of what is there; nothing is read back. Blocks of zeros that
//! lie together in a file are not written at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;

use super::BLOCK;
use super::geometry::BLOCKS_PER_GROUP;
use crate::convert::ConvertError;
use crate::files::Writeback;
use crate::tree::Extent;

/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 20;

/// Blocks of zeros that are worth a hole: each costs an extent.
const HOLE: usize = 16;

/// Blocks that one extent can have (ext4_extent's ee_len).
pub(super) const MAX_EXTENT: u32 = 32_768;

/// Bytes of one group's descriptor.
pub(super) const DESCRIPTOR: usize = 32;
pub(super) const DESCRIPTORS_PER_BLOCK: u32 = 128;
const _: () = assert!(DESCRIPTOR * DESCRIPTORS_PER_BLOCK as usize == BLOCK);

/// The file in the making.
#[derive(Debug)]
pub(crate) struct Blocks<'f> {
    file: &'f File,
    first_data: u32,
    /// The next block that nobody has.
    next: u32,
    /// Bytes of `total` that are left.
    left: u64,
    total: u64,
    buffer: Vec<u8>,
    writeback: Writeback,
    free: Vec<(u32, u32)>,
}

impl<'f> Blocks<'f> {
    /// Takes an empty file, for up to `total` bytes of data.
    pub(crate) fn new(file: &'f File, total: u64) -> Self {
        // Block numbers have 32 bits, and beside the data there are inodes: half of what there is for each.
        let total = total.min(1 << 43);
        let per_block = u64::from(DESCRIPTORS_PER_BLOCK) * u64::from(BLOCKS_PER_GROUP) * BLOCK as u64;
        // Inodes alone make a group for each 32,768 of them; their memory's bound leaves room for few more.
        let descriptors = total.div_ceil(per_block) + 2;
        let first_data = u32::try_from(1 + descriptors).unwrap_or(u32::MAX);
        Self {
            file,
            first_data,
            next: first_data,
            left: total,
            total,
            buffer: Vec::with_capacity(BUFFER),
            writeback: Writeback::default(),
            free: Vec::new(),
        }
    }

    /// The first block after the group descriptors.
    pub(super) fn first_data(&self) -> u32 {
        self.first_data
    }

    /// The number of the block that is written next.
    pub(super) fn position(&self) -> u32 {
        self.next
    }

    /// Starts a file's data.
    pub(crate) fn file(&mut self) -> FileData<'_, 'f> {
        FileData {
            blocks: self,
            extents: Vec::new(),
            position: 0,
            partial: Vec::new(),
        }
    }

    /// Says that nobody has these blocks any longer.
    pub(crate) fn free(&mut self, extent: Extent) {
        self.free.push((extent.start, extent.blocks));
    }

    /// Writes whole blocks and says where the first one is.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> io::Result<u32> {
        let start = self.next;
        let count = u32::try_from(bytes.len() / BLOCK).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.next = start.checked_add(count).ok_or(io::ErrorKind::FileTooLarge)?;
        while !bytes.is_empty() {
            let room = BUFFER - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER {
                self.flush(start + count - u32::try_from(later.len() / BLOCK).unwrap_or(0))?;
            }
        }
        Ok(start)
    }

    /// Writes what was gathered; it ends before block `end`.
    fn flush(&mut self, end: u32) -> io::Result<()> {
        let end = u64::from(end) * BLOCK as u64;
        self.file
            .write_all_at(&self.buffer, end - self.buffer.len() as u64)?;
        self.writeback.written(self.file, end);
        self.buffer.clear();
        Ok(())
    }

    /// Gives the blocks that nobody has back to the host and says which they are: first block and count, in order, apart from
    /// one another.
    pub(super) fn give_back(&mut self) -> Result<Vec<(u32, u32)>, ConvertError> {
        self.flush(self.next)?;
        self.free.sort_unstable();
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (start, count) in self.free.drain(..) {
            match runs.last_mut() {
                Some((first, length)) if *first + *length == start => *length += count,
                _ => runs.push((start, count)),
            }
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for (start, count) in &runs {
            let (offset, length) = (u64::from(*start) * BLOCK as u64, u64::from(*count) * BLOCK as u64);
            // Where the host's file system cannot do it, the room is lost and nothing else.
            if rustix::fs::fallocate(self.file, flags, offset, length).is_err() {
                break;
            }
        }
        Ok(runs)
    }

    /// Writes a block apart from the others.
    pub(super) fn write_at(&self, block: u32, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, u64::from(block) * BLOCK as u64)
    }

    /// Writes the rest, and makes the file as long as the file system.
    pub(super) fn close(&mut self, size: u64) -> io::Result<()> {
        self.flush(self.next)?;
        self.file.set_len(size)
    }
}

/// A file's data, from its start to its end.
#[derive(Debug)]
pub(crate) struct FileData<'b, 'f> {
    blocks: &'b mut Blocks<'f>,
    extents: Vec<Extent>,
    /// Where the next byte goes that follows the last.
    position: u64,
    /// The bytes of the block that `position` is in, up to there.
    partial: Vec<u8>,
}

impl FileData<'_, '_> {
    /// Takes the bytes at `offset`. `false`: they are before bytes that were taken already.
    pub(crate) fn write(&mut self, offset: u64, mut bytes: &[u8]) -> Result<bool, ConvertError> {
        if offset < self.position {
            return Ok(false);
        }
        self.blocks.left = self
            .blocks
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or(ConvertError::Limit {
                what: "bytes",
                limit: self.blocks.total,
                name: "total",
            })?;
        self.skip_to(offset)?;
        if !self.partial.is_empty() {
            let room = BLOCK - self.partial.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.partial.extend_from_slice(now);
            self.position += now.len() as u64;
            bytes = later;
            if self.partial.len() < BLOCK {
                return Ok(true);
            }
            self.flush()?;
        }
        let whole = bytes.len() / BLOCK * BLOCK;
        let (now, later) = bytes.split_at(whole);
        self.whole(now)?;
        self.partial.extend_from_slice(later);
        self.position += later.len() as u64;
        Ok(true)
    }

    /// The extents of all that was written.
    pub(crate) fn finish(mut self) -> Result<Vec<Extent>, ConvertError> {
        if !self.partial.is_empty() {
            self.partial.resize(BLOCK, 0);
            self.flush()?;
        }
        Ok(self.extents)
    }

    /// Goes on at `offset`; what is between reads as zeros.
    fn skip_to(&mut self, offset: u64) -> Result<(), ConvertError> {
        let block = BLOCK as u64;
        if offset == self.position {
            return Ok(());
        }
        if !self.partial.is_empty() && offset / block != self.position / block {
            self.partial.resize(BLOCK, 0);
            self.flush()?;
        }
        self.position = offset;
        self.partial
            .resize(usize::try_from(offset % block).unwrap_or(0), 0);
        Ok(())
    }

    /// Writes the block that was gathered, which is full. `position` is at its end, or within what follows as zeros.
    fn flush(&mut self) -> Result<(), ConvertError> {
        let partial = std::mem::take(&mut self.partial);
        let logical = self.position.saturating_sub(1) / BLOCK as u64;
        // A block of zeros costs an extent only where data comes before it.
        if !is_zero(&partial) || self.is_behind_data(logical) {
            self.run(logical, &partial)?;
        }
        self.partial = partial;
        self.partial.clear();
        Ok(())
    }

    fn is_behind_data(&self, logical: u64) -> bool {
        let last = self.extents.last();
        last.is_some_and(|last| u64::from(last.logical) + u64::from(last.blocks) == logical)
    }

    /// Writes whole blocks, but for long runs of zeros.
    fn whole(&mut self, bytes: &[u8]) -> Result<(), ConvertError> {
        let first = self.position / BLOCK as u64;
        let (mut start, mut zeros) = (0, 0);
        let count = bytes.len() / BLOCK;
        for index in 0..=count {
            let zero = index < count && is_zero(&bytes[index * BLOCK..(index + 1) * BLOCK]);
            if zero {
                zeros += 1;
                continue;
            }
            if zeros >= HOLE {
                self.run(
                    first + start as u64,
                    &bytes[start * BLOCK..(index - zeros) * BLOCK],
                )?;
                start = index;
            }
            zeros = 0;
        }
        self.run(first + start as u64, &bytes[start * BLOCK..])?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Writes blocks that follow one another.
    fn run(&mut self, logical: u64, bytes: &[u8]) -> Result<(), ConvertError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = self.blocks.append(bytes)?;
        let blocks =
            u32::try_from(bytes.len() / BLOCK).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let logical = u32::try_from(logical).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if let Some(last) = self.extents.last_mut()
            && last.start + last.blocks == start
            && last.logical + last.blocks == logical
            && last.blocks + blocks <= MAX_EXTENT
        {
            last.blocks += blocks;
        } else {
            self.extents.push(Extent {
                logical,
                start,
                blocks,
            });
        }
        Ok(())
    }
}

fn is_zero(block: &[u8]) -> bool {
    // Most blocks differ from zero in their first bytes.
    block[..16] == [0; 16] && block.iter().all(|byte| *byte == 0)
}
