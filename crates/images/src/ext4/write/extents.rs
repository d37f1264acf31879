//! Where an inode's data lies, in the form the kernel reads: up to four extents in the inode, else a tree.
//!
//! The source: fs/ext4/ext4_extents.h.

use std::io;

use super::BLOCK;
use super::blocks::{Blocks, MAX_EXTENT};
use super::bytes::{put16, put32};
use crate::tree::Extent;

const MAGIC: u16 = 0xf30a;
/// Bytes of the header, and of each entry, be it an extent or an index.
const ENTRY: usize = 12;
/// Bytes in an inode.
pub(super) const ROOT: usize = 60;
const IN_ROOT: usize = ROOT / ENTRY - 1;
/// Four bytes at the end are for a checksum that is not used.
const IN_BLOCK: usize = (BLOCK - ENTRY) / ENTRY;

/// The part of a file's extents that is in the inode, and how many blocks the rest takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) bytes: [u8; ROOT],
    pub(super) tree_blocks: u32,
}

/// Writes the tree, if there has to be one.
pub(super) fn write(extents: &[Extent], blocks: &mut Blocks<'_>) -> io::Result<Root> {
    let mut level: Vec<(u32, [u8; ENTRY])> = extents.iter().copied().map(leaf).collect();
    let (mut depth, mut tree_blocks) = (0, 0);
    while level.len() > IN_ROOT {
        let mut above = Vec::with_capacity(level.len().div_ceil(IN_BLOCK));
        for entries in level.chunks(IN_BLOCK) {
            let mut block = [0; BLOCK];
            fill(&mut block, entries, IN_BLOCK, depth);
            let number = blocks.append(&block)?;
            tree_blocks += 1;
            let mut index = [0; ENTRY];
            put32(&mut index, 0, entries[0].0);
            put32(&mut index, 4, number);
            above.push((entries[0].0, index));
        }
        (level, depth) = (above, depth + 1);
    }
    let mut bytes = [0; ROOT];
    fill(&mut bytes, &level, IN_ROOT, depth);
    Ok(Root { bytes, tree_blocks })
}

fn fill(bytes: &mut [u8], entries: &[(u32, [u8; ENTRY])], most: usize, depth: u16) {
    let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    put16(bytes, 0, MAGIC);
    put16(bytes, 2, count(entries.len()));
    put16(bytes, 4, count(most));
    put16(bytes, 6, depth);
    for (place, (_, entry)) in bytes[ENTRY..].chunks_exact_mut(ENTRY).zip(entries) {
        place.copy_from_slice(entry);
    }
}

/// Blocks that lie together, from the file's start; as many extents as it takes are in the inode (up to 512 MiB).
pub(super) fn together(start: u32, blocks: u32) -> [u8; ROOT] {
    let pieces = (0..blocks).step_by(MAX_EXTENT as usize).map(|logical| Extent {
        logical,
        start: start + logical,
        blocks: (blocks - logical).min(MAX_EXTENT),
    });
    root(pieces.take(IN_ROOT))
}

/// The only extent of a file, if it has one.
pub(super) fn one(extent: Option<Extent>) -> [u8; ROOT] {
    root(extent.into_iter())
}

fn root(extents: impl Iterator<Item = Extent>) -> [u8; ROOT] {
    let entries: Vec<_> = extents.map(leaf).collect();
    let mut bytes = [0; ROOT];
    fill(&mut bytes, &entries, IN_ROOT, 0);
    bytes
}

/// An extent, after the first block of the file that it is of.
fn leaf(extent: Extent) -> (u32, [u8; ENTRY]) {
    let mut bytes = [0; ENTRY];
    put32(&mut bytes, 0, extent.logical);
    put16(&mut bytes, 4, u16::try_from(extent.blocks).unwrap_or(0));
    put32(&mut bytes, 8, extent.start);
    (extent.logical, bytes)
}
