//! Bytes that go to the disk while others are still made.
//!
//! The invariant: it is a hint and no more. Whoever must know that the bytes are on the disk syncs the file at its end, and has
//! less to wait for then: a kernel left to itself begins to write after seconds, or when a tenth of its memory is full.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Bytes that are handed on at once: few calls, and pieces that lie together on the disk.
const STEP: u64 = 16 << 20;

/// How far a file, written from its start to its end, was handed on.
#[derive(Debug, Default)]
pub(crate) struct Writeback {
    begun: u64,
}

impl Writeback {
    /// Says that `file` is written up to `end`.
    pub(crate) fn written(&mut self, file: &File, end: u64) {
        let Some(length) = end.checked_sub(self.begun).filter(|length| *length >= STEP) else {
            return;
        };
        if let (Ok(offset), Ok(length)) = (self.begun.try_into(), length.try_into()) {
            // SAFETY: the call takes no memory of ours, and `file` is open while it lasts. What it cannot do is left to
            // the sync.
            unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
        }
        self.begun = end;
    }
}
