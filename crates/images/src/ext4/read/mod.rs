//! A reader of ext4 images in plain files, without root and without a mount.
//!
//! The invariant: whatever the bytes are (a guest had the disk and could write all of it), nothing here panics, loops or takes
//! more memory than its limits allow: each number is checked before it is used, every walk goes strictly forward, and an
//! error names the inode and what is wrong with it. Checksums are not looked at: who can write lies can write their checksums.
//!
//! Read are the file systems of mke2fs and of our own writer: with and without `64bit`, `flex_bg` and `metadata_csum`, blocks
//! of 1 to 64 KiB, data in extents or in the inode (`inline_data`), values of attributes in inodes of their own (`ea_inode`).
//! Not read are files mapped block by block (ext2 and ext3), encrypted ones, and journals: a disk that was not unmounted is
//! refused until its journal was replayed (see [`replay_journal`]).
//!
//! The format: the kernel's Documentation/filesystems/ext4/ and fs/ext4/ext4.h.

mod bytes;
mod contents;
mod directory;
mod error;
mod extents;
mod geometry;
mod image;
mod inode;
mod replay;
#[cfg(test)]
mod tests;
mod xattr;

pub use contents::Contents;
pub use directory::DirectoryEntry;
pub use error::{Problem, ReadError};
pub use extents::Extent;
pub use image::Image;
pub use inode::{Inode, InodeNumber, Kind, Time};
pub use replay::{ReplayError, replay_journal};

use geometry::Geometry;

/// A file system that is read. Nothing of it is kept in memory; inodes are read when they are asked for.
///
/// ```no_run
/// use std::fs::File;
///
/// use images::ext4::read::{Filesystem, InodeNumber};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = File::open("rootfs.ext4")?;
/// let filesystem = Filesystem::open(&file)?;
/// let root = filesystem.inode(InodeNumber::ROOT)?;
/// for entry in filesystem.directory(&root)? {
///     println!("{}", entry.name.escape_ascii());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Filesystem<'i, I: ?Sized> {
    image: &'i I,
    geometry: Geometry,
}

impl<'i, I: Image + ?Sized> Filesystem<'i, I> {
    /// Reads the superblock.
    ///
    /// # Errors
    /// There is no ext4 file system, or one with features that are not read, or its journal has to be replayed first.
    pub fn open(image: &'i I) -> Result<Self, ReadError> {
        let geometry = Geometry::read(image)?;
        Ok(Self { image, geometry })
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_size(&self) -> u32 {
        self.geometry.block_size
    }

    /// What a path leads to, links not followed; `None` where a name is not there.
    ///
    /// # Errors
    /// A folder on the way cannot be read.
    pub fn look_up(&self, path: &[u8]) -> Result<Option<Inode>, ReadError> {
        let mut inode = self.inode(InodeNumber::ROOT)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if inode.kind != Kind::Directory {
                return Ok(None);
            }
            let entries = self.directory(&inode)?;
            let Ok(found) = entries.binary_search_by(|entry| entry.name.as_slice().cmp(name)) else {
                return Ok(None);
            };
            inode = self.inode(entries[found].inode)?;
        }
        Ok(Some(inode))
    }

    /// A part of a block; `None` where it is not within the file system.
    fn block(&self, number: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if number >= self.geometry.blocks {
            return Ok(None);
        }
        let size = u64::from(self.geometry.block_size);
        let mut block = vec![0; self.geometry.block_size as usize];
        self.image.read_exact_at(&mut block, number * size)?;
        Ok(Some(block))
    }
}
