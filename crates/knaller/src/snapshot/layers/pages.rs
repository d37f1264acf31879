//! Which pages of a file a layer has.
//!
//! The invariant: this alone says it. A hole in the layer's file is a page of zeros where the map names the page, and
//! nothing where it does not, so it does not matter what a file system, or a copy of the file, makes of zeros and
//! holes.
//!
//! As a file: runs of pages, each the place of its first byte and the one behind its last, 64 bits little-endian, in
//! the order of the file, with something between any two. Only the last may end within a page, where the file does.

use std::fs;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The unit in which memory changes, and an ext4 file system too, in bytes.
pub(crate) const PAGE: u64 = 4096;

/// Bytes of a run in a file.
const RUN: usize = 16;

/// The longest file that is read, in bytes: every other page of half a TiB.
const LIMIT: u64 = 1 << 30;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pages {
    /// In bytes of the file.
    runs: Vec<Range<u64>>,
}

impl Pages {
    /// Reads the map of a file of this size.
    pub(crate) fn load(path: &Path, size: u64) -> io::Result<Self> {
        let damaged = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        if path.metadata()?.len() > LIMIT {
            return Err(damaged("a map that is longer than any"));
        }
        let bytes = fs::read(path)?;
        let (entries, rest) = bytes.as_chunks::<RUN>();
        let number = |bytes: &[u8]| bytes.try_into().map_or(u64::MAX, u64::from_le_bytes);
        let mut pages = Self::default();
        for entry in entries {
            let (start, end) = entry.split_at(RUN / 2);
            let run = number(start)..number(end);
            let apart = pages.runs.last().is_none_or(|last| last.end < run.start);
            let whole = run.start % PAGE == 0 && (run.end % PAGE == 0 || run.end == size);
            if !(apart && whole && run.start < run.end && run.end <= size) {
                return Err(damaged("a map of another file, or of none"));
            }
            pages.runs.push(run);
        }
        if !rest.is_empty() {
            return Err(damaged("a map that is cut off"));
        }
        Ok(pages)
    }

    /// Writes it to a new file.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let numbers = self.runs.iter().flat_map(|run| [run.start, run.end]);
        let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        file?.write_all(&bytes)
    }

    /// Adds a run of pages that begins where the last one ends, or behind that.
    pub(crate) fn add(&mut self, run: Range<u64>) {
        match self.runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => self.runs.push(run),
        }
    }

    /// Where the pages are, in bytes of the file, from the run on that ends behind `from`; pages side by side are one run.
    pub(crate) fn runs(&self, from: u64) -> impl Iterator<Item = Range<u64>> {
        let first = self.runs.partition_point(|run| run.end <= from);
        self.runs.iter().skip(first).cloned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_map_of_such_a_file_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("map");
        let written = |numbers: &[u64]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            fs::write(&path, bytes).unwrap();
        };
        let size = 5 * PAGE + 1;
        written(&[0, PAGE, 2 * PAGE, 3 * PAGE, 5 * PAGE, size]);
        let runs: Vec<_> = Pages::load(&path, size).unwrap().runs(PAGE).collect();
        assert_eq!(runs, [2 * PAGE..3 * PAGE, 5 * PAGE..size]);
        for (numbers, why) in [
            (&[PAGE, PAGE][..], "empty"),
            (&[2 * PAGE, PAGE], "backwards"),
            (&[0, PAGE, PAGE, 2 * PAGE], "side by side"),
            (&[2 * PAGE, 3 * PAGE, 0, PAGE], "out of order"),
            (&[1, PAGE], "from within a page"),
            (&[0, PAGE + 1], "to within a page"),
            (&[0, 6 * PAGE], "beyond the end"),
            (&[0, PAGE, 2 * PAGE], "cut off"),
            (&[u64::MAX - 1, u64::MAX], "nowhere"),
        ] {
            written(numbers);
            let error = Pages::load(&path, size).expect_err(why);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{why}");
        }
    }

    proptest! {
        #[test]
        fn runs_are_the_pages_that_were_added(
            size in 1..400_000u64,
            wanted in prop::collection::vec(any::<bool>(), 100),
            from in any::<u64>(),
        ) {
            let temp = tempfile::tempdir().unwrap();
            let mut pages = Pages::default();
            let places = (0..size.div_ceil(PAGE)).zip(&wanted).filter(|(_, wanted)| **wanted);
            let numbers: Vec<u64> = places.map(|(number, _)| number).collect();
            for number in &numbers {
                pages.add(number * PAGE..((number + 1) * PAGE).min(size));
            }
            pages.save(&temp.path().join("map")).unwrap();
            let pages = Pages::load(&temp.path().join("map"), size).unwrap();
            let found: Vec<u64> = pages
                .runs(0)
                .flat_map(|run| run.start / PAGE..run.end.div_ceil(PAGE))
                .collect();
            prop_assert_eq!(&found, &numbers);
            let from = from % size;
            let first = pages.runs(from).next().map(|run| run.end.div_ceil(PAGE) - 1);
            let expected = numbers.iter().find(|number| (*number + 1) * PAGE > from);
            prop_assert!(first >= expected.copied() && first.is_some() == expected.is_some());
        }
    }
}
