//! A lock on an open file, flock(2), that ends when it is dropped. Closing the file is not enough: a child that was forked meanwhile has
//! the same lock until it becomes its program.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A file that is locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Flocked(File);

impl Flocked {
    /// `None` if another holds it, and waiting was not asked for.
    pub(crate) fn on(file: File, how: FlockOperation) -> io::Result<Option<Self>> {
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
        let alone = || Flocked::on(temp.reopen().unwrap(), FlockOperation::NonBlockingLockExclusive);
        let locked = alone().unwrap().unwrap();
        // As a child has it between fork(2) and execve(2).
        let shared = locked.file().try_clone().unwrap();
        assert!(alone().unwrap().is_none());
        drop(locked);
        assert!(alone().unwrap().is_some());
        drop(shared);
    }
}
