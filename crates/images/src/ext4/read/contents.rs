//! The data of files, links and folders.

use std::io::{self, Read};

use super::inode::INLINE;
use super::{Extent, Filesystem, Image, Inode, ReadError};

/// An inode's data from its start to its end, holes as zeros.
#[derive(Debug)]
pub struct Contents<'f, 'i, I: ?Sized> {
    filesystem: &'f Filesystem<'i, I>,
    size: u64,
    position: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Kept in the inode; zeros behind.
    Inline(Vec<u8>),
    /// The pieces, the current one at this index.
    Blocks(Vec<Extent>, usize),
}

impl<'i, I: Image + ?Sized> Filesystem<'i, I> {
    /// The inode's data. Errors while reading it are [`io::Error`]s.
    ///
    /// # Errors
    /// The map of its blocks is damaged.
    pub fn contents(&self, inode: &Inode) -> Result<Contents<'_, 'i, I>, ReadError> {
        let source = if inode.flags & INLINE == 0 {
            Source::Blocks(self.extents(inode)?, 0)
        } else {
            Source::Inline(self.inline(inode)?)
        };
        Ok(Contents {
            filesystem: self,
            size: inode.size,
            position: 0,
            source,
        })
    }

    /// Data that is kept in the place of the map of blocks, and on in an attribute.
    pub(super) fn inline(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        let mut bytes = inode.fields.to_vec();
        bytes.extend(self.inline_rest(inode)?);
        Ok(bytes)
    }
}

impl<I: Image + ?Sized> Contents<'_, '_, I> {
    /// Bytes that are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    /// Fills the start of `buffer`, which is not longer than what is left, with what is at the position.
    fn some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Inline(bytes) => {
                let at = usize::try_from(self.position).unwrap_or(usize::MAX);
                let there = bytes.get(at..).unwrap_or_default();
                let count = there.len().min(buffer.len());
                buffer[..count].copy_from_slice(&there[..count]);
                buffer[count..].fill(0);
                Ok(buffer.len())
            }
            Source::Blocks(extents, current) => {
                let block = u64::from(self.filesystem.geometry.block_size);
                let ends = |extent: &Extent| (extent.logical + extent.blocks) * block;
                while extents
                    .get(*current)
                    .is_some_and(|extent| ends(extent) <= self.position)
                {
                    *current += 1;
                }
                let upto = |limit: u64, length: usize| {
                    usize::try_from(limit).map_or(length, |limit| limit.min(length))
                };
                match extents.get(*current) {
                    Some(extent) if extent.logical * block <= self.position => {
                        let count = upto(ends(extent) - self.position, buffer.len());
                        let inside = self.position - extent.logical * block;
                        let image = self.filesystem.image;
                        image.read_exact_at(&mut buffer[..count], extent.start * block + inside)?;
                        Ok(count)
                    }
                    next => {
                        let hole = next.map_or(u64::MAX, |extent| extent.logical * block - self.position);
                        let count = upto(hole, buffer.len());
                        buffer[..count].fill(0);
                        Ok(count)
                    }
                }
            }
        }
    }
}

impl<I: Image + ?Sized> Read for Contents<'_, '_, I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left()).map_or(buffer.len(), |left| left.min(buffer.len()));
        if length == 0 {
            return Ok(0);
        }
        let count = self.some(&mut buffer[..length])?;
        self.position += count as u64;
        Ok(count)
    }
}
