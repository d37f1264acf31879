//! The superblock and the group descriptors, written last.
//!
//! The source: `struct ext4_super_block` and `struct ext4_group_desc` of fs/ext4/ext4.h.

use std::io;

use super::bitmaps::Bitmaps;
use super::blocks::{Blocks, DESCRIPTOR};
use super::bytes::{put, put16, put32};
use super::geometry::{BLOCKS_PER_GROUP, Geometry};
use super::{BLOCK, EXTRA, FIRST_INODE, INODE, Identity, hash};

/// `ext_attr`, `dir_index`, `sparse_super2`.
const COMPATIBLE: u32 = 0x8 | 0x20 | 0x200;
/// `filetype`, `extents`, `flex_bg`.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x200;
/// `ea_inode`: older kernels do not mount what has it, and most images do not need it.
const VALUES: u32 = 0x400;
/// `sparse_super`, `large_file`, `dir_nlink`, `extra_isize`, `readonly`.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x20 | 0x40 | 0x1000;

/// The superblock is behind room for a boot loader.
const AT: usize = 1024;

/// Writes both. `values`: some attributes' values have inodes of their own.
pub(super) fn write(
    blocks: &mut Blocks<'_>,
    geometry: &Geometry,
    bitmaps: &Bitmaps<'_>,
    identity: Identity,
    values: bool,
) -> io::Result<()> {
    let free_blocks: u32 = bitmaps.counts.iter().map(|counts| counts.free_blocks).sum();
    let free_inodes: u32 = bitmaps.counts.iter().map(|counts| counts.free_inodes).sum();
    let mut block = [0; BLOCK];
    let it = &mut block[AT..AT + 1024];
    put32(it, 0x00, geometry.inodes());
    put32(it, 0x04, geometry.blocks);
    put32(it, 0x0c, free_blocks);
    put32(it, 0x10, free_inodes);
    // Blocks and clusters of 1024 << 2 bytes.
    put32(it, 0x18, 2);
    put32(it, 0x1c, 2);
    put32(it, 0x20, BLOCKS_PER_GROUP);
    put32(it, 0x24, BLOCKS_PER_GROUP);
    put32(it, 0x28, geometry.inodes_per_group);
    // Never to be checked for its age.
    put16(it, 0x36, u16::MAX);
    put16(it, 0x38, 0xef53);
    // Cleanly unmounted; go on after errors; inodes of any size.
    put16(it, 0x3a, 1);
    put16(it, 0x3c, 1);
    put32(it, 0x4c, 1);
    put32(it, 0x54, FIRST_INODE);
    put16(it, 0x58, u16::try_from(INODE).unwrap_or(0));
    put32(it, 0x5c, COMPATIBLE);
    put32(it, 0x60, INCOMPATIBLE | if values { VALUES } else { 0 });
    put32(it, 0x64, READ_ONLY_COMPATIBLE);
    put(it, 0x68, identity.0);
    for (number, word) in identity.hash_seed().into_iter().enumerate() {
        put32(it, 0xec + 4 * number, word);
    }
    put(it, 0xfc, [hash::VERSION]);
    let extra = u16::try_from(EXTRA - 128).unwrap_or(0);
    put16(it, 0x15c, extra);
    put16(it, 0x15e, extra);
    // Names' hashes are of unsigned characters.
    put32(it, 0x160, 2);
    // Groups whose tables lie together, as a power of two: all of them.
    let together = geometry.groups.next_power_of_two().trailing_zeros();
    put(it, 0x174, [u8::try_from(together).unwrap_or(31)]);
    blocks.write_at(0, &block)?;

    let mut descriptors = vec![0; geometry.groups as usize * DESCRIPTOR];
    for (group, (it, counts)) in (0..).zip(descriptors.chunks_exact_mut(DESCRIPTOR).zip(&bitmaps.counts)) {
        let small = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        put32(it, 0x00, geometry.block_bitmap(group));
        put32(it, 0x04, geometry.inode_bitmap(group));
        put32(it, 0x08, geometry.inode_table(group));
        put16(it, 0x0c, small(counts.free_blocks));
        put16(it, 0x0e, small(counts.free_inodes));
        put16(it, 0x10, small(counts.directories));
    }
    blocks.write_at(1, &descriptors)
}
