//! The last snapshot's memory file, to tell what has changed since.
//!
//! Invariant: laying every diff over the base in the order they were made gives the memory at the last of them. So what
//! was in one diff is in all later ones, until the base itself is brought up to date.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::target::Target;
use super::{CHUNK, MemoryError, PAGE, PAGE_U64, next_data};

/// A memory file as it was when the snapshot was made or loaded.
#[derive(Debug)]
pub(super) struct Base {
    file: File,
    stamp: Stamp,
    /// Pages that a diff has held since, a bit each.
    told: Vec<u64>,
}

/// By what a file that was written is told. Not by its time of change, which another name for it sets as well.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
        }
    }
}

impl Base {
    pub(super) fn of(file: File) -> io::Result<Self> {
        let data = file.metadata()?;
        if !data.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            stamp: Stamp::of(&data),
            told: Vec::new(),
            file,
        })
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether nobody has written to the file since.
    pub(super) fn is_unchanged(&self) -> bool {
        let now = self.file.metadata().map(|data| Stamp::of(&data));
        now.is_ok_and(|now| self.stamp == now)
    }

    pub(super) fn is_at(&self, target: &Target) -> bool {
        target.is(self.stamp.device, self.stamp.inode)
    }

    /// Hands over all pages that are not as in the file, and those told before.
    pub(super) fn each_change(
        &mut self,
        memory: &File,
        size: u64,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        let (mut now, mut then) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut at = 0;
        let pages = usize::try_from(size / PAGE_U64).unwrap_or(usize::MAX);
        self.told.resize(pages.div_ceil(64), 0);
        while let Some(start) = self.next(memory, at, size).map_err(MemoryError::Source)? {
            let len = usize::try_from(size - start).map_or(CHUNK, |left| left.min(CHUNK));
            let (now, then) = (&mut now[..len], &mut then[..len]);
            memory.read_exact_at(now, start).map_err(MemoryError::Source)?;
            self.file
                .read_exact_at(then, start)
                .map_err(MemoryError::Source)?;
            for (index, (now, then)) in now.chunks(PAGE).zip(then.chunks(PAGE)).enumerate() {
                let place = start + (index * PAGE) as u64;
                if self.is_told(place) || now != then {
                    self.tell(place);
                    take(place, now)?;
                }
            }
            at = start + len as u64;
        }
        Ok(())
    }

    /// Where the next data is, in either file.
    fn next(&self, memory: &File, at: u64, size: u64) -> io::Result<Option<u64>> {
        let now = next_data(memory, at, size)?;
        let then = next_data(&self.file, at, size)?;
        Ok([now, then].into_iter().flatten().map(|(start, _)| start).min())
    }

    fn bit(place: u64) -> (usize, u64) {
        let page = place / PAGE_U64;
        (usize::try_from(page / 64).unwrap_or(usize::MAX), 1 << (page % 64))
    }

    fn is_told(&self, place: u64) -> bool {
        let (word, bit) = Self::bit(place);
        self.told.get(word).is_some_and(|word| word & bit != 0)
    }

    fn tell(&mut self, place: u64) {
        let (word, bit) = Self::bit(place);
        if let Some(word) = self.told.get_mut(word) {
            *word |= bit;
        }
    }
}
