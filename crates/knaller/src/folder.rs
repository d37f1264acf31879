//! A lock on a folder under its name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

/// A folder that is locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct FolderLock(File);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child that was forked meanwhile has the same lock until it becomes its program.
        let _ = self.0.unlock();
    }
}

/// Opens and locks a folder; `None` if it is not there, another holds it, or it was renamed before the lock was ours.
pub(crate) fn lock(path: &Path, how: FlockOperation) -> io::Result<Option<FolderLock>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let folder = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => File::from(opened?),
    };
    match flock(&folder, how) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    let named = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        named => named?,
    };
    let ours = folder.metadata()?;
    let same = (ours.dev(), ours.ino()) == (named.dev(), named.ino());
    Ok(same.then(|| FolderLock(folder)))
}
