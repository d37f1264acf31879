//! Folders, read name by name: an index is passed over, since it is made to look like entries without an inode.

use std::io::Read;

use super::bytes::{short, word};
use super::inode::INLINE;
use super::{Filesystem, Image, Inode, InodeNumber, Kind, Problem, ReadError};

/// Bytes of an entry before its name.
const HEAD: usize = 8;
/// Names in one folder, and its bytes: room for names of a hundred bytes each. Both bound the memory that it takes.
const MAX_NAMES: usize = 1 << 20;
const MAX_BYTES: u64 = 128 << 20;
/// Bytes before the names of a folder that is kept in its inode: the parent's number.
const INLINE_PARENT: usize = 4;
/// Bytes of such a folder that are in the place of the map of blocks.
const INLINE_FIRST: usize = 60;

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// 1 to 255 bytes, without `/` and NUL; not `.` and not `..`.
    pub name: Vec<u8>,
    pub inode: InodeNumber,
}

impl<I: Image + ?Sized> Filesystem<'_, I> {
    /// The names in a folder, sorted by their bytes.
    ///
    /// # Errors
    /// It is no folder, damaged, too large, or has a name twice.
    pub fn directory(&self, inode: &Inode) -> Result<Vec<DirectoryEntry>, ReadError> {
        if inode.kind != Kind::Directory {
            return Err(Problem::NotDirectory.of(inode.number));
        }
        let mut entries = Vec::new();
        let add = |bytes: &[u8], entries: &mut Vec<_>| {
            parse(bytes, entries).map_err(|problem| problem.of(inode.number))
        };
        if inode.flags & INLINE != 0 {
            let bytes = self.inline(inode)?;
            let size = usize::try_from(inode.size).unwrap_or(usize::MAX).min(bytes.len());
            let (first, rest) = bytes[..size].split_at(size.min(INLINE_FIRST));
            add(first.get(INLINE_PARENT..).unwrap_or_default(), &mut entries)?;
            add(rest, &mut entries)?;
        } else {
            if inode.size > MAX_BYTES || !inode.size.is_multiple_of(u64::from(self.geometry.block_size)) {
                return Err(Problem::Size(inode.size).of(inode.number));
            }
            let mut contents = self.contents(inode)?;
            let mut block = vec![0; self.geometry.block_size as usize];
            while contents.left() > 0 {
                contents.read_exact(&mut block)?;
                add(&block, &mut entries)?;
            }
        }
        entries.sort_unstable();
        if entries.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(Problem::Twice.of(inode.number));
        }
        Ok(entries)
    }
}

/// Takes the entries of one block.
fn parse(block: &[u8], entries: &mut Vec<DirectoryEntry>) -> Result<(), Problem> {
    let mut rest = block;
    while !rest.is_empty() {
        let inode = word(rest, 0).ok_or(Problem::Entry)?;
        let length = match short(rest, 4).ok_or(Problem::Entry)? {
            // What has no place in sixteen bits: all of a block of 64 KiB.
            0 | u16::MAX if rest.len() == 1 << 16 => rest.len(),
            length => length.into(),
        };
        let (entry, behind) = rest
            .split_at_checked(length)
            .filter(|_| length >= HEAD && length.is_multiple_of(4))
            .ok_or(Problem::Entry)?;
        rest = behind;
        if inode == 0 {
            continue;
        }
        let name = entry
            .get(HEAD..HEAD + usize::from(entry[6]))
            .ok_or(Problem::Entry)?;
        if matches!(name, b"." | b"..") {
            continue;
        }
        if name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            return Err(Problem::Name);
        }
        if entries.len() == MAX_NAMES {
            return Err(Problem::Names);
        }
        entries.push(DirectoryEntry {
            name: name.to_vec(),
            inode: InodeNumber(inode),
        });
    }
    Ok(())
}
