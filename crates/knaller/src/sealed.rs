//! Files that one machine's VMM has written, and others are loaded from.
//!
//! The invariant: from [`seal`] on no process has the file open for writing, and no VMM can open it so: neither by a name, for
//! it sees none, nor by a descriptor that it has kept for reading (`/proc/self/fd`), for nobody may write it, and what a VMM owns
//! it cannot give itself rights to (see `jail::calls`).

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use images::Task;
use images::files::copy_to_new;

use crate::{Error, Result};

/// Reading, and that for its owner alone: what a guest has in its memory is secret.
const MODE: u32 = 0o400;

/// Not in libc for every target (Linux: include/uapi/asm-generic/fcntl.h).
const F_SETSIG: libc::c_int = 10;

/// Lets nobody write to the file at `path` any more. Whoever has it open for writing keeps what he has: the file is a
/// copy then. Blocks.
pub(crate) fn seal(path: &Path) -> Result<()> {
    let failed = || Error::io("seal", path);
    // First, so that nobody opens it between the look and that.
    close(path).map_err(failed())?;
    let file = File::open(path).map_err(failed())?;
    if nobody_writes(&file) {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), "somebody has it open for writing: it becomes a copy");
    let copy = Copy::of(path);
    copy_to_new(&file, &copy.0, &Task::new())?;
    close(&copy.0).map_err(failed())?;
    fs::rename(&copy.0, path).map_err(failed())
}

fn close(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(MODE))
}

/// Whether no process has it open for writing, nor mapped so: the kernel grants a lease for reading only then (fcntl(2)). Where it
/// grants none at all, nobody knows.
fn nobody_writes(file: &File) -> bool {
    let control = |command, argument: libc::c_int| {
        // SAFETY: these commands take a number and touch no memory of this process.
        unsafe { libc::fcntl(file.as_raw_fd(), command, argument) == 0 }
    };
    // Who breaks a lease has its holder signalled: by default with a signal that ends it.
    control(F_SETSIG, libc::SIGURG)
        && control(libc::F_SETLEASE, libc::F_RDLCK)
        && control(libc::F_SETLEASE, libc::F_UNLCK)
}

/// A copy beside the file, gone unless it has got its name.
struct Copy(PathBuf);

impl Copy {
    fn of(path: &Path) -> Self {
        let mut name = OsString::from(path);
        name.push(".copy");
        Self(name.into())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    fn written(temp: &tempfile::TempDir) -> (PathBuf, File) {
        let path = temp.path().join("memory");
        let file = File::create(&path).unwrap();
        file.write_all_at(b"guest", 0).unwrap();
        (path, file)
    }

    #[test]
    fn what_nobody_writes_stays_where_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let (path, file) = written(&temp);
        let inode = file.metadata().unwrap().ino();
        drop(file);
        // A reader is no writer.
        let reader = File::open(&path).unwrap();
        // Tests beside this one start processes, which have all files open for a moment.
        while !nobody_writes(&reader) {
            std::thread::yield_now();
        }
        seal(&path).unwrap();
        let sealed = path.metadata().unwrap();
        assert_eq!((sealed.ino(), sealed.mode() & 0o777), (inode, MODE));
    }

    #[test]
    fn whoever_has_kept_it_open_for_writing_has_another_file() {
        let temp = tempfile::tempdir().unwrap();
        let (path, file) = written(&temp);
        seal(&path).unwrap();
        file.write_all_at(b"EVIL!", 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"guest");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
