//! Which pages of a file a layer has.
//!
//! The invariant: this alone says it. A hole in the layer's file is a page of zeros where the map names the page, and nothing where it does
//! not, so it does not matter what a file system, or a copy of the file, makes of zeros and holes.
//!
//! As a file: a bit for each page of 4096 bytes, the first page the lowest bit of the first byte.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

/// The unit in which memory changes, and an ext4 file system too, in bytes.
pub(crate) const PAGE: u64 = 4096;

/// The largest map that is read: of a file of 64 TiB.
const MAX_MAP: u64 = 2 << 30;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Of the whole file, in bytes.
    size: u64,
    bits: Vec<u8>,
}

impl Pages {
    /// None of a file of this size.
    pub(crate) fn none(size: u64) -> io::Result<Self> {
        let bits = vec![0; map_size(size)?];
        Ok(Self { size, bits })
    }

    /// Reads the map of a file of this size.
    pub(crate) fn load(path: &Path, size: u64) -> io::Result<Self> {
        let expected = map_size(size)?;
        let damaged = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let found = path.metadata()?.len();
        if found != expected as u64 {
            return Err(damaged(format!(
                "a map of {found} bytes where {expected} are needed"
            )));
        }
        let bits = fs::read(path)?;
        let beyond = (size.div_ceil(PAGE)..expected as u64 * 8).any(|page| bit(&bits, page));
        if bits.len() != expected || beyond {
            return Err(damaged("a map of another file".to_owned()));
        }
        Ok(Self { size, bits })
    }

    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;

        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        io::Write::write_all(&mut file?, &self.bits)
    }

    /// Adds the page at this place of the file.
    pub(crate) fn add(&mut self, at: u64) {
        let page = at / PAGE;
        let byte = usize::try_from(page / 8)
            .ok()
            .and_then(|byte| self.bits.get_mut(byte));
        if let Some(byte) = byte {
            *byte |= 1 << (page % 8);
        }
    }

    /// Where the pages are, in bytes of the file, from the first that ends behind `from` on; pages side by side are one run.
    pub(crate) fn runs(&self, from: u64) -> Runs<'_> {
        Runs {
            pages: self,
            next: from / PAGE,
        }
    }
}

/// See [`Pages::runs`].
#[derive(Debug)]
pub(crate) struct Runs<'a> {
    pages: &'a Pages,
    next: u64,
}

impl Runs<'_> {
    /// The next page from here on that is there, or is not.
    fn first(&self, wanted: bool) -> u64 {
        let Pages { size, bits } = self.pages;
        let end = size.div_ceil(PAGE);
        let mut page = self.next;
        // What a whole byte is made of where none of its pages is looked for.
        let dull = if wanted { 0 } else { u8::MAX };
        while page < end && bit(bits, page) != wanted {
            let byte = usize::try_from(page / 8).ok().and_then(|byte| bits.get(byte));
            page = if byte == Some(&dull) {
                (page / 8 + 1) * 8
            } else {
                page + 1
            };
        }
        page.min(end)
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        self.next = self.first(true);
        let start = self.next.saturating_mul(PAGE);
        if start >= self.pages.size {
            return None;
        }
        self.next = self.first(false);
        Some(start..self.next.saturating_mul(PAGE).min(self.pages.size))
    }
}

fn bit(bits: &[u8], page: u64) -> bool {
    let byte = usize::try_from(page / 8).ok().and_then(|byte| bits.get(byte));
    byte.is_some_and(|byte| byte & (1 << (page % 8)) != 0)
}

fn map_size(size: u64) -> io::Result<usize> {
    let bytes = size.div_ceil(PAGE).div_ceil(8);
    usize::try_from(bytes)
        .ok()
        .filter(|_| bytes <= MAX_MAP)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a file of more than 64 TiB"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_map_of_such_a_file_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("map");
        let mut pages = Pages::none(10 * PAGE + 1).unwrap();
        pages.add(10 * PAGE);
        pages.save(&path).unwrap();
        assert_eq!(Pages::load(&path, 10 * PAGE + 1).unwrap(), pages);
        // One page less, and the map has one too many.
        for size in [10 * PAGE, 100 * PAGE, 0, u64::MAX] {
            let error = Pages::load(&path, size).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{size}");
        }
    }

    proptest! {
        #[test]
        fn runs_are_the_pages_that_were_added(size in 1..400_000u64, places in prop::collection::vec(any::<u64>(), 0..60), from in any::<u64>()) {
            let mut pages = Pages::none(size).unwrap();
            let mut expected = std::collections::BTreeSet::new();
            for place in places {
                pages.add(place % size);
                expected.insert(place % size / PAGE);
            }
            let from = from % size;
            expected.retain(|page| *page >= from / PAGE);
            let mut last = None;
            let mut found = std::collections::BTreeSet::new();
            for run in pages.runs(from) {
                prop_assert!(run.start < run.end && run.end <= size && run.start % PAGE == 0);
                prop_assert!(last.is_none_or(|end| end < run.start), "runs side by side are one");
                last = Some(run.end);
                found.extend(run.start / PAGE..run.end.div_ceil(PAGE));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
