//! Values of extended attributes that have inodes of their own (`ea_inode`).
//!
//! The source: `ext4_xattr_inode_create` and `ext4_xattr_inode_verify_hashes` of fs/ext4/xattr.c. No folder has such an inode:
//! its number is in the attribute's entry, and it counts the entries that refer to it. Linux has them since 4.13.

use std::io;

use super::blocks::Blocks;
use super::bytes::{put, put16, put32};
use super::{BLOCK, EXTRA, INODE, Identity, extents};
use crate::ext4::crc32c::crc32c;

/// The flags of such an inode: its data is in extents, and is a value.
const FLAGS: u32 = 0x8_0000 | 0x20_0000;

/// Sectors of 512 bytes, which inodes count, in a block.
const SECTORS: u32 = 8;
const _: () = assert!(SECTORS as usize * 512 == BLOCK);

/// A value in memory.
#[derive(Debug)]
pub(super) struct Value {
    bytes: Vec<u8>,
    pub(super) hash: u32,
}

/// A value that is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    start: u32,
    blocks: u32,
    size: u32,
    hash: u32,
}

impl Value {
    pub(super) fn new(bytes: Vec<u8>, identity: Identity) -> Self {
        // Checksums in a file system start from that of its UUID.
        let seed = crc32c(!0, &identity.0);
        let hash = crc32c(seed, &bytes);
        Self { bytes, hash }
    }

    /// Its size in blocks.
    pub(super) fn blocks(&self) -> u64 {
        self.bytes.len().div_ceil(BLOCK) as u64
    }

    pub(super) fn write(mut self, blocks: &mut Blocks<'_>) -> io::Result<Stored> {
        let number = |number| u32::try_from(number).map_err(|_| io::ErrorKind::FileTooLarge);
        let size = number(self.bytes.len())?;
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(Stored {
            start: blocks.append(&self.bytes)?,
            blocks: number(self.bytes.len() / BLOCK)?,
            size,
            hash: self.hash,
        })
    }
}

impl Stored {
    /// Its inode: of root's, as no name leads to it.
    pub(super) fn inode(self) -> [u8; INODE] {
        let mut bytes = [0; INODE];
        put16(&mut bytes, 0x00, 0o100_600);
        put32(&mut bytes, 0x04, self.size);
        // In the place of the time of access.
        put32(&mut bytes, 0x08, self.hash);
        put16(&mut bytes, 0x1a, 1);
        put32(&mut bytes, 0x1c, self.blocks * SECTORS);
        put32(&mut bytes, 0x20, FLAGS);
        // In the place of its version, how many entries refer to it.
        put32(&mut bytes, 0x24, 1);
        put(&mut bytes, 0x28, extents::together(self.start, self.blocks));
        put16(&mut bytes, 0x80, u16::try_from(EXTRA - 128).unwrap_or(0));
        bytes
    }
}
