//! Making something large so that it is there whole or not at all.
//!
//! The invariant: under its final name a file or folder is complete and on the disk. Until then it lies in the same folder
//! under a name with [`PREFIX`], locked (flock(2)) for as long as its maker lives. Such a name that nobody holds is left
//! over from a crash, and the next maker removes it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags, flock};
use rustix::io::Errno;

/// Starts the names of what is not ready.
const PREFIX: &str = ".new-";

/// Why something could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// `needed` is what was to be written, in bytes; 0 where that is not known.
    #[error("{path} cannot be written: its disk is full, or this user's share of it{}. Make room, or set XDG_DATA_HOME to a folder on a larger disk", size(*.needed))]
    Full {
        path: PathBuf,
        needed: u64,
        source: io::Error,
    },
    #[error("{path} cannot be written")]
    Io { path: PathBuf, source: io::Error },
}

fn size(needed: u64) -> String {
    if needed == 0 {
        String::new()
    } else {
        format!(" ({needed} bytes are being written)")
    }
}

impl StageError {
    pub(crate) fn new(path: &Path, needed: u64, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            Self::Full { path, needed, source }
        } else {
            Self::Io { path, source }
        }
    }
}

/// Whether the disk is full, or a quota used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A folder in the making; removed when dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    parent: PathBuf,
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl Staging {
    /// A new folder within `parent`, after what crashed makers left there has been removed.
    pub(crate) fn new(parent: &Path) -> Result<Self, StageError> {
        let broken = |source| StageError::new(parent, 0, source);
        // One at a time between making a folder and locking it, or a cleaner would take it for a dead one's.
        let turn = open_locked(parent, FlockOperation::LockExclusive).map_err(broken)?;
        remove_dead(parent).map_err(broken)?;
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(broken)?;
        let lock = open_locked(folder.path(), FlockOperation::NonBlockingLockExclusive).map_err(broken)?;
        drop(turn);
        Ok(Self {
            parent: parent.to_owned(),
            path: folder.keep(),
            _lock: lock,
        })
    }

    /// Removes what crashed makers left in `parent`.
    pub(crate) fn clean(parent: &Path) -> Result<(), StageError> {
        let cleaned =
            open_locked(parent, FlockOperation::LockExclusive).and_then(|_turn| remove_dead(parent));
        cleaned.map_err(|source| StageError::new(parent, 0, source))
    }

    /// What crashed makers left in `parent`.
    pub(crate) fn dead(parent: &Path) -> Result<Vec<PathBuf>, StageError> {
        let found = open_locked(parent, FlockOperation::LockExclusive).and_then(|_turn| dead(parent));
        let found = found.map_err(|source| StageError::new(parent, 0, source))?;
        Ok(found.into_iter().map(|(path, _lock)| path).collect())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file `file` of the folder in place as `name`, beside the folder. `false`: there is one of that name already.
    pub(crate) fn publish_file(self, file: &str, name: &str) -> Result<bool, StageError> {
        let (source, target) = (self.path.join(file), self.parent.join(name));
        let broken = |source| StageError::new(&target, 0, source);
        File::open(&source)
            .and_then(|file| file.sync_all())
            .map_err(broken)?;
        self.place(&source, &target)
    }

    /// Puts the folder in place as `name`. `false`: there is one of that name already, and this one is gone.
    pub(crate) fn publish(self, name: &str) -> Result<bool, StageError> {
        let target = self.parent.join(name);
        let broken = |source| StageError::new(&target, 0, source);
        for entry in fs::read_dir(&self.path).map_err(broken)? {
            File::open(entry.map_err(broken)?.path())
                .and_then(|file| file.sync_all())
                .map_err(broken)?;
        }
        sync_folder(&self.path).map_err(broken)?;
        self.place(&self.path, &target)
    }

    fn place(&self, source: &Path, target: &Path) -> Result<bool, StageError> {
        match rename(source, target).and_then(|()| sync_folder(&self.parent)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StageError::new(target, 0, error)),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone already where it was published; what cannot be removed now is removed by the next maker.
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(path = %self.path.display(), %error, "left for the next import to remove");
            }
            _ => {}
        }
    }
}

/// Writes the file `name` in `folder`, in one step for who reads it: what was there before, or all of `bytes`. On the disk
/// when it returns.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StageError> {
    let target = folder.join(name);
    let broken = |source| StageError::new(&target, bytes.len() as u64, source);
    let staging = Staging::new(folder)?;
    let new = staging.path.join(name);
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(&new);
    let mut file = file.map_err(broken)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, &target))
        .and_then(|()| sync_folder(folder))
        .map_err(broken)
}

/// Renames without replacing. Where the file system cannot do that in one step (NFS), a folder that is not empty is not
/// replaced either, and a file is by one of the same content.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let cwd = rustix::fs::CWD;
    match rustix::fs::renameat_with(cwd, from, cwd, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            other => other,
        },
        other => other.map_err(Into::into),
    }
}

/// Makes a rename in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn open_locked(path: &Path, lock: FlockOperation) -> io::Result<File> {
    // Never waits for the other end of a FIFO, never follows a link.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    match rustix::io::retry_on_intr(|| flock(&file, lock)) {
        Ok(()) => Ok(file.into()),
        // NFS takes flock(2) for a lock that needs write access, which a folder cannot give.
        Err(Errno::BADF | Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let text =
                "its file system cannot lock folders (NFS?): set XDG_DATA_HOME to a folder on a local disk";
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
        Err(error) => Err(error.into()),
    }
}

/// What dead makers left in `parent`, whose lock the caller holds; each with its maker's lock.
fn dead(parent: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        if let Ok(lock) = open_locked(&path, FlockOperation::NonBlockingLockExclusive) {
            found.push((path, lock));
        }
    }
    Ok(found)
}

/// Removes what dead makers left in `parent`, whose lock the caller holds.
fn remove_dead(parent: &Path) -> io::Result<()> {
    for (path, _lock) in dead(parent)? {
        let removed = if path.symlink_metadata()?.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Ok(()) => tracing::info!(path = %path.display(), "removed what a crash left behind"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "a crash left this behind"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_folder_appears_whole() {
        let parent = tempfile::tempdir().unwrap();
        let staging = Staging::new(parent.path()).unwrap();
        fs::write(staging.path().join("file"), "text").unwrap();
        assert!(staging.publish("done").unwrap());
        assert_eq!(names(parent.path()), ["done"]);
        assert_eq!(names(&parent.path().join("done")), ["file"]);
    }

    #[test]
    fn the_first_of_two_stays() {
        let parent = tempfile::tempdir().unwrap();
        let stagings = [
            Staging::new(parent.path()).unwrap(),
            Staging::new(parent.path()).unwrap(),
        ];
        for (number, staging) in stagings.iter().enumerate() {
            fs::write(staging.path().join("file"), number.to_string()).unwrap();
        }
        let [first, second] = stagings;
        assert!(first.publish("done").unwrap());
        assert!(!second.publish("done").unwrap());
        assert_eq!(names(parent.path()), ["done"]);
        assert_eq!(fs::read_to_string(parent.path().join("done/file")).unwrap(), "0");
    }

    #[test]
    fn a_small_file_is_replaced() {
        let parent = tempfile::tempdir().unwrap();
        for text in ["first", "second"] {
            replace(parent.path(), "file", text.as_bytes()).unwrap();
            assert_eq!(names(parent.path()), ["file"]);
            assert_eq!(fs::read_to_string(parent.path().join("file")).unwrap(), text);
        }
    }

    #[test]
    fn what_is_dropped_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        drop(Staging::new(parent.path()).unwrap());
        assert!(names(parent.path()).is_empty());
    }

    #[test]
    fn the_dead_are_removed_and_the_living_are_not() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir_all(parent.path().join(".new-dead/sub")).unwrap();
        fs::write(parent.path().join(".new-file"), "text").unwrap();
        fs::create_dir(parent.path().join("other")).unwrap();
        let living = Staging::new(parent.path()).unwrap();
        let other = Staging::new(parent.path()).unwrap();
        let left = names(parent.path());
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(living.path().is_dir() && other.path().is_dir());
    }
}
