//! Where tables lie: from the superblock and the group descriptors.

use super::bytes::{joined, short, word};
use super::{Filesystem, Image, InodeNumber, Problem, ReadError};
use crate::ext4::Superblock;

/// Behind room for a boot loader.
const SUPERBLOCK: u64 = 1024;
/// Bytes of an inode's old fields.
pub(super) const OLD_INODE: usize = 128;

const INCOMPAT_64BIT: u32 = 0x80;
/// `filetype`, `recover` (refused by itself), `extents`, `64bit`, `mmp`, `flex_bg`, `ea_inode`, `csum_seed`, `largedir`,
/// `inline_data`, `casefold`.
const READ: u32 = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x2_0000;

/// The file system in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// In bytes: 1, 2, 4, … 64 KiB.
    pub(super) block_size: u32,
    pub(super) blocks: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_size: u16,
    descriptors: u64,
    descriptor_size: u16,
}

impl Geometry {
    pub(super) fn read(image: &(impl Image + ?Sized)) -> Result<Self, ReadError> {
        let mut bytes = [0; 1024];
        image.read_exact_at(&mut bytes, SUPERBLOCK)?;
        let superblock = Superblock::parse(&bytes)?;
        let short = |at| short(&bytes, at).unwrap_or_default();
        let word = |at| word(&bytes, at).unwrap_or_default();
        let features = word(0x60);
        if features & !READ != 0 {
            return Err(ReadError::Features(features & !READ));
        }
        if superblock.needs_recovery {
            return Err(ReadError::Journal);
        }
        let is_64bit = features & INCOMPAT_64BIT != 0;
        // The parser lets no larger ones pass.
        let block_size = 1024 << word(0x18).min(6);
        // Before that of 1998 all inodes were of one size.
        let inode_size = if word(0x4c) == 0 { 128 } else { short(0x58) };
        let geometry = Self {
            block_size,
            blocks: superblock.size / u64::from(block_size),
            inodes: word(0x00),
            inodes_per_group: word(0x28),
            inode_size,
            descriptors: (u64::from(word(0x14)) + 1).saturating_mul(block_size.into()),
            descriptor_size: if is_64bit { short(0xfe) } else { 32 },
        };
        let is_inode_size = inode_size.is_power_of_two()
            && usize::from(inode_size) >= OLD_INODE
            && u32::from(inode_size) <= block_size;
        if !is_inode_size {
            return Err(ReadError::Geometry("inodes of a size that there is not"));
        }
        if geometry.inodes_per_group == 0 {
            return Err(ReadError::Geometry("no inodes"));
        }
        if is_64bit && !(64..=1024).contains(&geometry.descriptor_size) {
            return Err(ReadError::Geometry(
                "group descriptors of a size that there is not",
            ));
        }
        if geometry.blocks > 1 << 48 {
            return Err(ReadError::Geometry("more blocks than there can be"));
        }
        Ok(geometry)
    }
}

impl<I: Image + ?Sized> Filesystem<'_, I> {
    /// The bytes of an inode.
    pub(super) fn raw_inode(&self, number: InodeNumber) -> Result<Vec<u8>, ReadError> {
        let geometry = &self.geometry;
        let index = number.0.checked_sub(1).filter(|index| *index < geometry.inodes);
        let index = u64::from(index.ok_or(Problem::Number.of(number))?);
        let per_group = u64::from(geometry.inodes_per_group);
        let (group, index) = (index / per_group, index % per_group);
        let size = u64::from(geometry.descriptor_size);
        let mut descriptor = vec![0; geometry.descriptor_size.into()];
        let at = group.saturating_mul(size).saturating_add(geometry.descriptors);
        self.image.read_exact_at(&mut descriptor, at)?;
        let low = word(&descriptor, 0x08).unwrap_or_default();
        let table = joined(word(&descriptor, 0x28).unwrap_or_default(), low);
        let in_table = index * u64::from(geometry.inode_size);
        let block_size = u64::from(geometry.block_size);
        if table == 0 || table.saturating_add(in_table / block_size) >= geometry.blocks {
            return Err(ReadError::Group(group));
        }
        let mut inode = vec![0; geometry.inode_size.into()];
        self.image
            .read_exact_at(&mut inode, table * block_size + in_table)?;
        Ok(inode)
    }
}
