//! A disk claimed for as long as somebody uses it.
//!
//! The invariant: the kernel keeps the claim, on an open file, and gives it back when the last process that has the
//! file ends. One writer or any number of readers have a disk. For a block device that is written, the claim also keeps
//! the host from mounting it, swapping to it or making another device of it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

/// How long one who is just letting go of it is waited for: a process that ended a moment ago, or udev having a look.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is tried meanwhile.
const PACE: Duration = Duration::from_millis(20);

/// Who has a disk that cannot be claimed: the kernel does not say.
pub const OTHERS: &str = "another machine or program of this host has it for itself";

/// A disk that is claimed until every process has closed this file.
#[derive(Debug)]
pub struct Claimed(File);

impl Claimed {
    /// The file, for a process to inherit.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// Claims the disk at `path`, for a writer or a reader. `None` if another has it; waits up to 2 s for one who lets go. Blocks.
///
/// # Errors
/// It cannot be opened.
pub fn claim(path: &Path, read_only: bool) -> io::Result<Option<Claimed>> {
    let start = Instant::now();
    loop {
        match attempt(path, read_only) {
            Err(Errno::BUSY | Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => std::thread::sleep(PACE),
            Err(Errno::BUSY | Errno::WOULDBLOCK) => return Ok(None),
            claimed => return Ok(claimed.map(Some)?),
        }
    }
}

fn attempt(path: &Path, read_only: bool) -> Result<Claimed, Errno> {
    let device = FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode) == FileType::BlockDevice;
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // Of a regular file it would be without meaning (open(2)).
    flags.set(OFlags::EXCL, device && !read_only);
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let how = match read_only {
        true => FlockOperation::NonBlockingLockShared,
        false => FlockOperation::NonBlockingLockExclusive,
    };
    flock(&file, how)?;
    Ok(Claimed(file))
}
