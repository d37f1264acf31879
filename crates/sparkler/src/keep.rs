//! Keeping a file that is only ever appended to from filling its disk.
//!
//! Invariant: the last bytes of the file stay, and every byte stays at its offset, so that whoever reads along loses nothing
//! and finds nothing twice. What is older becomes a hole (fallocate(2)): it has no blocks on the disk, and readers find
//! where it ends by lseek(2) with SEEK_DATA.

use std::os::fd::AsFd;

use rustix::fs::{FallocateFlags, FileType, fallocate, fstat};

/// Holes begin and end where blocks do, on every file system in use.
const BLOCK: u64 = 64 << 10;

/// How much of a file is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    limit: u64,
    /// Written since the file was last looked at.
    fresh: u64,
    /// Where the hole ends.
    hole: u64,
}

impl Keep {
    /// Keeps the last `limit` bytes at least, and a quarter more at the most, but for less than a block.
    #[must_use]
    pub fn last(limit: u64) -> Self {
        Self {
            limit,
            fresh: limit,
            hole: 0,
        }
    }

    /// After `count` bytes were written to `file`. What is no plain file is left alone, as is a file system without holes.
    pub fn written(&mut self, file: impl AsFd, count: usize) {
        self.fresh += count as u64;
        if self.fresh < self.limit / 4 {
            return;
        }
        self.fresh = 0;
        let Ok(stat) = fstat(&file) else { return };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let end = size.saturating_sub(self.limit) / BLOCK * BLOCK;
        if end <= self.hole {
            // Emptied by somebody since: holes are made from the beginning again.
            self.hole = end;
            return;
        }
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&file, how, self.hole, end - self.hole).is_ok() {
            self.hole = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn the_end_stays_where_it_is_and_the_rest_takes_no_room() {
        let mut file = tempfile::tempfile().unwrap();
        let limit = 1 << 20;
        let mut keep = Keep::last(limit);
        let mut all = Vec::new();
        for number in 0..2000u32 {
            let line = format!("{number:04095}\n");
            file.write_all(line.as_bytes()).unwrap();
            keep.written(&file, line.len());
            all.extend_from_slice(line.as_bytes());
            let blocks = file.metadata().unwrap().blocks() * 512;
            assert!(blocks <= limit + limit / 4 + 3 * BLOCK, "{blocks} after {number}");
        }
        assert_eq!(file.metadata().unwrap().len(), all.len() as u64);
        let mut end = vec![0; usize::try_from(limit).unwrap()];
        file.read_exact_at(&mut end, all.len() as u64 - limit).unwrap();
        assert!(all.ends_with(&end));
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let (_read, mut write) = std::io::pipe().unwrap();
        let mut keep = Keep::last(1);
        write.write_all(b"x").unwrap();
        keep.written(&write, 1);
    }

    #[test]
    fn a_file_that_was_emptied_is_kept_small_again() {
        let file = tempfile::tempfile().unwrap();
        let mut keep = Keep::last(BLOCK);
        file.write_all_at(&vec![b'x'; 1 << 20], 0).unwrap();
        keep.written(&file, 1 << 20);
        file.set_len(0).unwrap();
        keep.written(&file, 1 << 20);
        file.write_all_at(&vec![b'y'; 1 << 20], 0).unwrap();
        keep.written(&file, 1 << 20);
        assert!(file.metadata().unwrap().blocks() * 512 <= 3 * BLOCK);
    }
}
