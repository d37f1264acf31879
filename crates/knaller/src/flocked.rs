//! A lock on an open file, flock(2), that ends when it is dropped. Closing the file is not enough: a child that was forked
//! meanwhile has the same lock until it becomes its program.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A file that is locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Flocked(File);

impl Flocked {
    /// Waits until nobody else holds it.
    pub(crate) fn alone(file: File) -> io::Result<Self> {
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }

    /// Waits until nobody else holds it alone.
    pub(crate) fn shared(file: File) -> io::Result<Self> {
        flock(&file, FlockOperation::LockShared)?;
        Ok(Self(file))
    }

    /// As [`Self::alone`] without waiting: `None` if another holds it.
    pub(crate) fn try_alone(file: File) -> io::Result<Option<Self>> {
        Self::at_once(file, FlockOperation::NonBlockingLockExclusive)
    }

    /// As [`Self::shared`] without waiting: `None` if another holds it alone.
    pub(crate) fn try_shared(file: File) -> io::Result<Option<Self>> {
        Self::at_once(file, FlockOperation::NonBlockingLockShared)
    }

    /// As [`Self::alone`], on a file that all of root's knallers know, whatever folders they have. It is made if need be.
    pub(crate) fn of_root(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        Self::alone(file)
    }

    fn at_once(file: File, how: FlockOperation) -> io::Result<Option<Self>> {
        match flock(&file, how) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            locked => Ok(locked.map(|()| Some(Self(file)))?),
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Flocked {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_given_back_is_free_whoever_shares_it() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let alone = || Flocked::try_alone(temp.reopen().unwrap());
        let locked = alone().unwrap().unwrap();
        // As a child has it between fork(2) and execve(2).
        let shared = locked.file().try_clone().unwrap();
        assert!(alone().unwrap().is_none());
        drop(locked);
        assert!(alone().unwrap().is_some());
        drop(shared);
    }
}
