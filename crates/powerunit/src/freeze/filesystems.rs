//! Making file systems stand still: everything written, their journals closed, and every later write waiting (ioctl_fsfreeze,
//! `FIFREEZE` of linux/fs.h).
//!
//! The invariant: what is frozen is held by its descriptor and thawed by it, at the latest when the value is dropped. One that
//! somebody else has frozen is left to him.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::mounts::{Mounted, writable_disks};
use crate::sys;

/// How long all of them may take. One that waits for what can never come, a disk that is a file of another that is frozen
/// already, or is served by a process that stands still, would wait for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// The overlay's disk as seen from the initramfs: its own mount cannot be reached from the root file system, and
/// overlayfs itself cannot be frozen.
const UPPER: &str = "upper";

/// A file system that is not frozen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot open the file system at {}", place.display())]
    Open {
        place: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the file system at {} can only be written out, not frozen", .0.display())]
    Unfreezable(PathBuf),
    #[error("cannot freeze the file system at {}", place.display())]
    Freeze {
        place: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the file system at {} did not come to rest within {} s", .0.display(), LIMIT.as_secs())]
    Late(PathBuf),
}

/// File systems that stand still.
#[derive(Debug, Default)]
pub(super) struct Filesystems(Arc<Mutex<Progress>>);

#[derive(Debug, Default)]
struct Progress {
    frozen: Vec<OwnedFd>,
    /// The one that is being frozen.
    at: PathBuf,
    /// Nobody waits any more: what is frozen from now on is thawed at once.
    given_up: bool,
}

/// Opens the folder of every file system on a disk that can be written to, in the order to freeze them in: one inside another
/// comes before it. `initramfs` is the folder of the first root.
pub(super) fn open(initramfs: BorrowedFd<'_>) -> (Vec<(PathBuf, OwnedFd)>, Vec<Error>) {
    let (mut opened, mut errors) = (Vec::new(), Vec::new());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for Mounted { place, .. } in writable_disks(&mountinfo()) {
        match rustix::fs::openat(CWD, &place, flags, Mode::empty()) {
            Ok(folder) => opened.push((place, folder)),
            Err(e) => errors.push(Error::Open {
                place,
                source: e.into(),
            }),
        }
    }
    if let Ok(upper) = rustix::fs::openat(initramfs, UPPER, flags, Mode::empty()) {
        opened.push((Path::new("/").join(UPPER), upper));
    }
    (opened, errors)
}

fn mountinfo() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Writes out what the file systems hold back, so that there is little left to do once everything stands still.
pub(super) fn write_out(folders: &[(PathBuf, OwnedFd)]) {
    for (_, folder) in folders {
        // What cannot be written now is tried again when they are frozen.
        let _ = rustix::fs::syncfs(folder);
    }
}

impl Filesystems {
    /// Freezes all of `folders`. Gives what can only be written out.
    ///
    /// # Errors
    ///
    /// One cannot be frozen, or not in time; then all of them have been thawed again.
    pub(super) fn freeze(folders: Vec<(PathBuf, OwnedFd)>) -> Result<(Self, Vec<Error>), Error> {
        let progress = Arc::<Mutex<Progress>>::default();
        let (done, end) = channel();
        // In a thread of its own: a system call that waits cannot be called back, only left behind.
        std::thread::spawn({
            let progress = Arc::clone(&progress);
            move || {
                // Nobody may be left to hear of it.
                let _ = done.send(freeze_all(folders, &progress));
            }
        });
        let filesystems = Self(progress);
        match end.recv_timeout(LIMIT) {
            Ok(Ok(unfreezable)) => Ok((filesystems, unfreezable)),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(Error::Late(lock(&filesystems.0).at.clone())),
        }
    }

    /// Lets them be written to again.
    pub(super) fn thaw(&mut self) {
        let mut progress = lock(&self.0);
        progress.given_up = true;
        for folder in progress.frozen.drain(..).rev() {
            // Somebody may have thawed it already.
            let _ = sys::thaw(folder);
        }
    }
}

impl Drop for Filesystems {
    fn drop(&mut self) {
        self.thaw();
    }
}

fn freeze_all(folders: Vec<(PathBuf, OwnedFd)>, progress: &Mutex<Progress>) -> Result<Vec<Error>, Error> {
    let mut unfreezable = Vec::new();
    for (place, folder) in folders {
        lock(progress).at.clone_from(&place);
        let frozen = sys::freeze(&folder);
        let mut progress = lock(progress);
        match frozen.map_err(|e| (Errno::from_io_error(&e), e)) {
            Ok(()) if progress.given_up => {
                let _ = sys::thaw(&folder);
                break;
            }
            Ok(()) => progress.frozen.push(folder),
            // Somebody has frozen it before, or it is the same file system in two places.
            Err((Some(Errno::BUSY), _)) => {}
            Err((Some(Errno::OPNOTSUPP | Errno::NOTTY), _)) => {
                drop(progress);
                let _ = rustix::fs::syncfs(&folder);
                unfreezable.push(Error::Unfreezable(place));
            }
            Err((_, source)) => return Err(Error::Freeze { place, source }),
        }
    }
    Ok(unfreezable)
}

/// Thaws every file system on a disk, whoever has frozen it.
pub(super) fn thaw_all(initramfs: BorrowedFd<'_>) {
    for (_, folder) in open(initramfs).0 {
        // It may well not be frozen.
        let _ = sys::thaw(folder);
    }
}

/// Nothing panics while it is locked.
fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
