//! Where a file's data lies.
//!
//! The invariant: the pieces of a file come in its order, none overlaps another, and all are within the file system. Since each
//! leaf must begin behind the one before, no tree can make the walk longer than the list that comes out.

use super::bytes::{short, word};
use super::inode::EXTENTS;
use super::{Filesystem, Image, Inode, Problem, ReadError};

const MAGIC: u16 = 0xf30a;
const ENTRY: usize = 12;
/// Levels below an inode that Linux makes (`EXT4_MAX_EXTENT_DEPTH`).
const MAX_DEPTH: u16 = 5;
/// A longer extent is one of that many blocks less, which have a place but were never written to.
const WRITTEN: u16 = 32_768;
/// Pieces of one file.
const MAX_PIECES: usize = 1 << 20;

/// Blocks that follow one another, in the file and in the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first one's number in the file.
    pub logical: u64,
    /// The first one's number in the file system.
    pub start: u64,
    /// How many they are, at least 1.
    pub blocks: u64,
}

impl<I: Image + ?Sized> Filesystem<'_, I> {
    /// Where the inode's data lies. What no extent covers reads as zeros, and so does what was reserved and never written.
    ///
    /// # Errors
    /// The map is damaged, or not one of extents.
    pub fn extents(&self, inode: &Inode) -> Result<Vec<Extent>, ReadError> {
        if inode.flags & EXTENTS == 0 {
            // A file that never had data may have no map at all.
            if inode.fields == [0; 60] {
                return Ok(Vec::new());
            }
            return Err(Problem::Flags(inode.flags).of(inode.number));
        }
        let mut found = Vec::new();
        let depth = short(&inode.fields, 6).unwrap_or(u16::MAX);
        if depth > MAX_DEPTH {
            return Err(Problem::Extents.of(inode.number));
        }
        let mut next = 0;
        self.node(inode, &inode.fields, depth, &mut next, &mut found)?;
        Ok(found)
    }

    /// Reads one node; `next` is the first block of the file that may come now.
    fn node(
        &self,
        inode: &Inode,
        bytes: &[u8],
        depth: u16,
        next: &mut u64,
        found: &mut Vec<Extent>,
    ) -> Result<(), ReadError> {
        let damaged = || Problem::Extents.of(inode.number);
        let entries = entries(bytes, depth).ok_or_else(damaged)?;
        for entry in entries {
            let logical = u64::from(word(entry, 0).unwrap_or_default());
            if logical < *next {
                return Err(damaged());
            }
            if depth > 0 {
                let high = short(entry, 8).unwrap_or_default();
                let block = u64::from(high) << 32 | u64::from(word(entry, 4).unwrap_or_default());
                let block = self.block(block)?.ok_or(Problem::Block.of(inode.number))?;
                let before = *next;
                self.node(inode, &block, depth - 1, next, found)?;
                if *next == before {
                    return Err(damaged());
                }
                continue;
            }
            let length = short(entry, 4).unwrap_or_default();
            let (length, written) = match length.checked_sub(WRITTEN) {
                Some(unwritten @ 1..) => (unwritten, false),
                _ => (length, true),
            };
            let high = short(entry, 6).unwrap_or_default();
            let start = u64::from(high) << 32 | u64::from(word(entry, 8).unwrap_or_default());
            let blocks = u64::from(length);
            if blocks == 0 {
                return Err(damaged());
            }
            *next = logical + blocks;
            if !written {
                continue;
            }
            if start == 0 || start + blocks > self.geometry.blocks {
                return Err(Problem::Block.of(inode.number));
            }
            if found.len() == MAX_PIECES {
                return Err(Problem::Fragments.of(inode.number));
            }
            found.push(Extent {
                logical,
                start,
                blocks,
            });
        }
        Ok(())
    }
}

/// The entries of a node, if its header is right.
fn entries(bytes: &[u8], depth: u16) -> Option<impl Iterator<Item = &[u8]>> {
    let count = usize::from(short(bytes, 2)?);
    let is_right = short(bytes, 0)? == MAGIC && short(bytes, 6)? == depth;
    let entries = bytes.get(ENTRY..ENTRY + count * ENTRY)?;
    is_right.then(|| entries.chunks_exact(ENTRY))
}
