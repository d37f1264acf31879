//! How much is kept of what a machine writes. The invariant: the end of a log stays, and every byte of it at its offset
//! or a whole number of [`STEP`]s before it; what is older becomes a hole, which takes no room on the disk
//! (fallocate(2)) and which readers step over (lseek(2), SEEK_DATA). A log that has become long loses its beginning
//! altogether, so that it does not come to [`LONGEST`], where the kernel lets no more be written.
//!
//! sparkler does so by itself while it writes (`--keep-output`). Firecracker does not, and no process of ours stays with it:
//! its logs are trimmed at the beginning of every command.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use crate::flocked::Flocked;

/// How many bytes of a log are kept, at least.
pub(crate) const LIMIT: u64 = 16 << 20;

/// What a long log is made shorter by, in bytes.
pub(crate) const STEP: u64 = 1 << 30;

/// How long a log can become in a jail, in bytes: a guest that writes to its console without end fills no disk.
pub(crate) const LONGEST: u64 = 4 * STEP;

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
        Err(Errno::OPNOTSUPP) => Ok(()),
        trimmed => Ok(trimmed?),
    }
}

/// Takes whole [`STEP`]s away from the beginning of a log of more than two; whether it did. Not where the file system
/// cannot, nor where another does just now.
pub(crate) fn shorten(log: &Path) -> io::Result<bool> {
    if log.symlink_metadata()?.len() <= 2 * STEP {
        return Ok(false);
    }
    let file = OpenOptions::new().write(true).open(log)?;
    let Some(locked) = Flocked::try_alone(file)? else {
        return Ok(false);
    };
    let steps = locked.file().metadata()?.len() / STEP - 1;
    match fallocate(locked.file(), FallocateFlags::COLLAPSE_RANGE, 0, steps * STEP) {
        Err(Errno::OPNOTSUPP | Errno::INVAL) => Ok(false),
        shortened => Ok(shortened.map(|()| true)?),
    }
}

/// Where a reader that has come to `at` is now, in a log that may have been made shorter or empty since.
pub(crate) fn place(log: &File, at: u64) -> io::Result<u64> {
    let end = log.metadata()?.len();
    if at <= end {
        return Ok(at);
    }
    let at = at - (at - end).div_ceil(STEP).min(at / STEP) * STEP;
    Ok(if at <= end { at } else { 0 })
}

/// Where data begins at or after `at`: behind the hole that `at` may lie in. `at` itself where there is nothing more.
pub(crate) fn data(log: &File, at: u64) -> u64 {
    seek(log, SeekFrom::Data(at)).unwrap_or(at)
}
