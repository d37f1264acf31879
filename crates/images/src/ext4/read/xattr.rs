//! Extended attributes: in the inode, in a block of their own, or the value in an inode of its own.
//!
//! The source: fs/ext4/xattr.h.

use std::io::Read;

use super::bytes::{short, word};
use super::inode::VALUE;
use super::{Filesystem, Image, Inode, InodeNumber, Kind, Problem, ReadError};
use crate::acl::{self, Acl};

const MAGIC: u32 = 0xea02_0000;
const INODE_HEADER: usize = 4;
const BLOCK_HEADER: usize = 32;
const ENTRY: usize = 16;
/// Bytes of a value: `XATTR_SIZE_MAX`.
const MAX_VALUE: usize = 64 << 10;
/// Bytes of all values of one inode.
const MAX_VALUES: usize = 1 << 20;

/// Numbers that stand for beginnings of names.
const PREFIXES: [(u8, &[u8]); 8] = [
    (0, b""),
    (1, b"user."),
    (2, acl::ACCESS),
    (3, acl::DEFAULT),
    (4, b"trusted."),
    (6, b"security."),
    (7, b"system."),
    (8, b"system.richacl"),
];

/// The attribute that data of an inode goes on in.
const DATA: &[u8] = b"system.data";

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

impl<I: Image + ?Sized> Filesystem<'_, I> {
    /// The inode's extended attributes by their full names, sorted; ACLs as getxattr(2) gives them.
    ///
    /// # Errors
    /// They are damaged.
    pub fn xattrs(&self, inode: &Inode) -> Result<Xattrs, ReadError> {
        let mut all = self.raw_xattrs(inode)?;
        all.retain(|(name, _)| name != DATA);
        for (name, value) in &mut all {
            if name == acl::ACCESS || name == acl::DEFAULT {
                let list = Acl::from_disk(value).ok_or(Problem::Acl.of(inode.number))?;
                *value = list.to_xattr();
            }
        }
        Ok(all)
    }

    /// What is kept in the attribute `system.data`.
    pub(super) fn inline_rest(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        let all = self.raw_xattrs(inode)?;
        let found = all.into_iter().find(|(name, _)| name == DATA);
        Ok(found.map(|(_, value)| value).unwrap_or_default())
    }

    fn raw_xattrs(&self, inode: &Inode) -> Result<Xattrs, ReadError> {
        let mut all = Vec::new();
        if word(&inode.behind, 0) == Some(MAGIC) {
            let area = inode.behind.get(INODE_HEADER..).unwrap_or_default();
            self.area(inode, area, 0, &mut all)?;
        }
        if inode.xattr_block != 0 {
            let block = self.block(inode.xattr_block)?;
            let block = block.ok_or(Problem::Block.of(inode.number))?;
            if word(&block, 0) != Some(MAGIC) {
                return Err(Problem::Xattrs.of(inode.number));
            }
            self.area(inode, &block, BLOCK_HEADER, &mut all)?;
        }
        all.sort_unstable();
        if all.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Problem::Xattrs.of(inode.number));
        }
        Ok(all)
    }

    /// Reads the entries from `at` on; the places of values count from the start of `area`.
    fn area(&self, inode: &Inode, area: &[u8], mut at: usize, all: &mut Xattrs) -> Result<(), ReadError> {
        let damaged = || Problem::Xattrs.of(inode.number);
        loop {
            // The end is four zeros, or there is no room for more.
            if word(area, at).is_none_or(|word| word == 0) {
                return Ok(());
            }
            let entry = area.get(at..at + ENTRY).ok_or_else(damaged)?;
            let (length, prefix) = (usize::from(entry[0]), entry[1]);
            let name = area.get(at + ENTRY..at + ENTRY + length).ok_or_else(damaged)?;
            at += ENTRY + length.next_multiple_of(4);
            let prefix = PREFIXES.iter().find(|(number, _)| *number == prefix);
            let (_, prefix) = prefix.ok_or_else(damaged)?;
            let name = [*prefix, name].concat();
            if name.is_empty() || name.contains(&0) {
                return Err(damaged());
            }
            let field = |at| word(entry, at).unwrap_or_default();
            let size = usize::try_from(field(8)).map_err(|_| damaged())?;
            let value = match InodeNumber(field(4)) {
                InodeNumber(0) => {
                    let start = usize::from(short(entry, 2).unwrap_or_default());
                    let value = if size == 0 {
                        Some(&[][..])
                    } else {
                        area.get(start..).and_then(|from| from.get(..size))
                    };
                    value.ok_or_else(damaged)?.to_vec()
                }
                number => self.value(number, size)?,
            };
            all.push((name, value));
            if all.iter().map(|(_, value)| value.len()).sum::<usize>() > MAX_VALUES {
                return Err(damaged());
            }
        }
    }

    /// A value that is the data of an inode of its own.
    fn value(&self, number: InodeNumber, size: usize) -> Result<Vec<u8>, ReadError> {
        let inode = self.inode(number)?;
        let is_value = inode.kind == Kind::File && inode.flags & VALUE != 0;
        if !is_value || size > MAX_VALUE || inode.size != size as u64 {
            return Err(Problem::Xattrs.of(number));
        }
        let mut value = Vec::with_capacity(size);
        self.contents(&inode)?.read_to_end(&mut value)?;
        Ok(value)
    }
}
