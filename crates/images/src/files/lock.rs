//! Locks between programs: files that one holds (flock(2)).
//!
//! The invariant: a [`Lock`] that is held was taken on the file that its path names now, so nobody holds another's place by a
//! file that was removed. It is free once it is dropped or its holder has died, also where a child that was forked meanwhile
//! still has the descriptor.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::StageError;
use crate::task::{Cancelled, Task};

/// Between two looks whether the holder is done and the task is not called off: no system call waits for both.
const LOOK: Duration = Duration::from_millis(20);

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A held lock on an open file.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// Who else may hold it at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Shared,
    Exclusive,
}

impl Lock {
    /// Waits until it holds the lock on `path`, a file that is made where it is missing.
    pub(crate) fn wait(path: &Path, kind: Kind, task: &Task) -> Result<Self, LockError> {
        loop {
            if let Some(lock) = Self::try_take(path, kind)? {
                return Ok(lock);
            }
            task.at("waiting for another program that does the same", 0, None)?;
            std::thread::sleep(LOOK);
        }
    }

    /// Takes the lock on `path` if nobody holds it who hinders that.
    pub(crate) fn try_take(path: &Path, kind: Kind) -> Result<Option<Self>, StageError> {
        let broken = |source| StageError::new(path, 0, source);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        loop {
            let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
            let file = File::from(file.map_err(|error| broken(error.into()))?);
            let operation = match kind {
                Kind::Shared => FlockOperation::NonBlockingLockShared,
                Kind::Exclusive => FlockOperation::NonBlockingLockExclusive,
            };
            match rustix::io::retry_on_intr(|| flock(&file, operation)) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(broken(error.into())),
            }
            let lock = Self {
                file,
                path: path.to_owned(),
            };
            // Removed or replaced between opening and locking: that was another's, who is done.
            if lock.is_named().map_err(broken)? {
                return Ok(Some(lock));
            }
        }
    }

    /// The file it is held on.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the file.
    fn is_named(&self) -> io::Result<bool> {
        let held = self.file.metadata()?;
        match self.path.symlink_metadata() {
            Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the file, then lets go.
    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing does not free it while a forked child has the descriptor.
        if let Err(error) = flock(self.file.as_fd(), FlockOperation::Unlock) {
            tracing::debug!(path = %self.path.display(), %error, "a lock ends with its descriptor");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_or_many_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let take = |kind| Lock::try_take(&path, kind).unwrap();
        let one = take(Kind::Exclusive).unwrap();
        assert!(take(Kind::Exclusive).is_none() && take(Kind::Shared).is_none());
        drop(one);
        let shared = [take(Kind::Shared).unwrap(), take(Kind::Shared).unwrap()];
        assert!(take(Kind::Exclusive).is_none());
        drop(shared);
        take(Kind::Exclusive).unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_removed_file_holds_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let old = Lock::try_take(&path, Kind::Exclusive).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        let new = Lock::try_take(&path, Kind::Exclusive).unwrap().unwrap();
        assert!(new.is_named().unwrap() && !old.is_named().unwrap());
    }

    #[test]
    fn who_waits_gets_it_or_is_called_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::try_take(&path, Kind::Exclusive).unwrap().unwrap();
        let (waits, waiting) = std::sync::mpsc::channel();
        let task = Task::watched(move |_| waits.send(()).unwrap_or_default());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| Lock::wait(&path, Kind::Exclusive, &task));
            waiting.recv().unwrap();
            drop(held);
            let held = waiter.join().unwrap().unwrap();
            let waiter = scope.spawn(|| Lock::wait(&path, Kind::Exclusive, &task));
            waiting.recv().unwrap();
            task.cancel();
            assert!(matches!(waiter.join().unwrap(), Err(LockError::Cancelled(_))));
            drop(held);
        });
    }
}
