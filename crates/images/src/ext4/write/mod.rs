//! Our own writer of ext4: a read-only file system from a tree, its data written as it comes.
//!
//! The invariant: what is written passes `e2fsck -f` without a word, mounts on any kernel with ext4 (3.16 and later;
//! 4.13 where an attribute's value has an inode of its own), and is the same, bit for bit, for the same tree and the
//! same data.
//!
//! The format is that of the kernel's documentation (Documentation/filesystems/ext4/) and of its fs/ext4/ext4.h. All of it is
//! written in one direction:
//!
//! ```text
//! block 0        the superblock
//! 1 ..           group descriptors, with room for as many groups as the limit on the data allows
//! then           data of files, in the order of the layers
//! then           folders, long links, attributes, extent trees
//! at the end     bitmaps and inode tables of all groups side by side (flex_bg)
//! ```
//!
//! There is no journal and no backup of the superblock (`sparse_super2`): nobody writes to it, and what is broken is made anew.

mod bitmaps;
mod blocks;
mod bytes;
mod directory;
mod extents;
mod geometry;
mod hash;
mod inode;
mod plan;
mod superblock;
mod value;
mod xattr;

pub(crate) use blocks::{Blocks, FileData};
pub(crate) use xattr::fits as xattrs_fit;

use bitmaps::Bitmaps;
use geometry::Geometry;
use inode::EXTRA;
use plan::Plan;

use crate::convert::ConvertError;
use crate::task::Task;
use crate::tree::Tree;

/// Bytes of a block.
const BLOCK: usize = 4096;
/// Bytes of an inode.
const INODE: usize = 256;
/// The first inode that is not the file system's own.
const FIRST_INODE: u32 = 11;
const ROOT_INODE: u32 = 2;

/// What the UUID and the hash seed are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity(pub(crate) [u8; 16]);

impl Identity {
    /// What the hashes of names start from: never all zeros, which would stand for the default.
    fn hash_seed(self) -> [u32; 4] {
        let (words, _) = self.0.as_chunks::<4>();
        let mut seed = [0; 4];
        for (number, word) in seed.iter_mut().zip(words) {
            *number = u32::from_le_bytes(*word);
        }
        seed[0] |= 1;
        seed
    }
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// Bytes of the file, holes included.
    pub(crate) size: u64,
    /// Names, without the root.
    pub(crate) entries: u64,
    /// Bytes of data that no inode has.
    pub(crate) hidden: u64,
}

/// Writes all that is not data of files.
pub(crate) fn finish(
    tree: &Tree,
    mut blocks: Blocks<'_>,
    identity: Identity,
    task: &Task,
) -> Result<Written, ConvertError> {
    task.at("writing names and inodes", 0, None)?;
    let plan = Plan::new(tree, &mut blocks, identity, task)?;
    let geometry = Geometry::new(plan.inode_count(), blocks.position());
    let free = blocks.give_back()?;
    let hidden = free
        .iter()
        .map(|(_, count)| u64::from(*count) * BLOCK as u64)
        .sum();
    let bitmaps = Bitmaps::new(&geometry, &plan, &free, blocks.first_data());
    bitmaps.write(&mut blocks)?;
    inode::write_tables(tree, &plan, identity, &mut blocks, task)?;
    superblock::write(&mut blocks, &geometry, &bitmaps, identity, plan.has_values())?;
    let size = u64::from(geometry.blocks) * BLOCK as u64;
    blocks.close(size)?;
    Ok(Written {
        size,
        entries: plan.entries(),
        hidden,
    })
}
