//! How much is kept of what a machine writes. The invariant: the end of a log stays, and every byte of it at its offset; what
//! is older becomes a hole, which takes no room on the disk (fallocate(2)) and which readers step over (lseek(2), SEEK_DATA).
//!
//! sparkler does so by itself while it writes (`--keep-output`). Firecracker does not, and no process of ours stays with it:
//! its logs are trimmed at the beginning of every command.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};

/// How many bytes of a log are kept, at least.
pub(crate) const LIMIT: u64 = 16 << 20;

/// Holes begin and end where blocks do, on every file system in use.
const BLOCK: u64 = 64 << 10;

/// Gives back what a log has on the disk before its last `limit` bytes, if that is much. A file system without holes keeps it.
pub(crate) fn trim(log: &Path, limit: u64) -> io::Result<()> {
    let metadata = log.symlink_metadata()?;
    if metadata.blocks() * 512 <= limit + limit / 2 {
        return Ok(());
    }
    let end = metadata.len().saturating_sub(limit) / BLOCK * BLOCK;
    if end == 0 {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(log)?;
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(&file, how, 0, end) {
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        trimmed => Ok(trimmed?),
    }
}

/// Where data begins at or after `at`: behind the hole that `at` may lie in. `at` itself where there is nothing more.
pub(crate) fn data(log: &File, at: u64) -> u64 {
    seek(log, SeekFrom::Data(at)).unwrap_or(at)
}
