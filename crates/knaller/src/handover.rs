//! The one folder of a machine in which its VMM writes files: those that are put there empty for it, when there is
//! something to be written, and taken away by a rename.
//!
//! The invariant: the VMM sees no other folder in which it can write, but for the sockets in that of its sockets; and
//! in this one it makes nothing, where the kernel has landlock. So a VMM that its guest has taken over can put nothing
//! in the place of what this program reads, nor files without number on its disk. And what is taken out is a plain
//! file: nothing is opened by a name that such a VMM may have given to a link.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use images::Task;
use images::files::copy_to_new;
use rustix::io::Errno;

use crate::layout::Files;
use crate::{Error, Result, folder};

/// What the VMM is told to write of a guest, in there and where it is taken to.
pub(crate) const STATE: &str = "state";
pub(crate) const MEMORY: &str = "memory";

/// Where a guest that was taken is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) state: PathBuf,
    pub(crate) memory: PathBuf,
}

impl Guest {
    pub(crate) fn inside(folder: &Path) -> Self {
        Self {
            state: folder.join(STATE),
            memory: folder.join(MEMORY),
        }
    }
}

/// What a drive is before a machine has put its own there, in bytes: a whole number of everything's blocks.
const BLANK: u64 = 1 << 20;

/// Makes it, empty, for a boot.
pub(crate) fn make(files: &Files) -> Result<()> {
    let folder = files.handover();
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &folder)(error));
        }
        _ => {}
    }
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(Error::io("make the folder", &folder))
}

/// Something to stand for each drive of a guest that is kept.
pub(crate) fn blank(files: &Files) -> Result<PathBuf> {
    let path = files.handover().join("blank");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path);
    file.and_then(|file| file.set_len(BLANK))
        .map_err(Error::io("make", &path))?;
    Ok(path)
}

/// Removes what an earlier attempt left, which the VMM would write over in its place.
pub(crate) fn clear(files: &Files) -> Result<()> {
    for name in [STATE, MEMORY] {
        folder::remove_file(&files.handover().join(name))?;
    }
    Ok(())
}

/// Says that the disk is full where a VMM has refused to write a guest for that: all that tells it is the kernel's error in
/// its answer, which sparkler and Firecracker quote alike.
pub(crate) fn explain(files: &Files, refused: Error) -> Error {
    let full = |message: &str| {
        [Errno::NOSPC, Errno::DQUOT]
            .map(|errno| io::Error::from(errno).to_string())
            .iter()
            .any(|said| message.contains(said))
    };
    match refused {
        Error::VmmRefused { ref message, .. } if full(message) => {
            let name = if message.contains("memory") { MEMORY } else { STATE };
            Error::NoSpace {
                path: files.handover().join(name),
            }
        }
        other => other,
    }
}

/// Puts empty files there, for the VMM to write a guest into: both or none.
pub(crate) fn offer(files: &Files) -> Result<()> {
    clear(files)?;
    let offered = lay_out(files);
    if offered.is_err() {
        clear(files)?;
    }
    offered
}

fn lay_out(files: &Files) -> Result<()> {
    for name in [STATE, MEMORY] {
        let path = files.handover().join(name);
        let fresh = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        fresh.map_err(Error::io("make", &path))?;
    }
    Ok(())
}

/// Moves the guest that the VMM has written into a folder of this program's own. Nothing of it stays.
pub(crate) fn take(files: &Files, to: &Path) -> Result<()> {
    take_to(files, &Guest::inside(to))
}

/// As [`take`], to places of a caller's own.
pub(crate) fn take_to(files: &Files, to: &Guest) -> Result<()> {
    for (name, taken) in [(STATE, &to.state), (MEMORY, &to.memory)] {
        let path = files.handover().join(name);
        match fs::rename(&path, taken) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                copy(&path, taken)?;
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
            moved => moved.map_err(Error::io("rename", &path))?,
        }
        let kind = taken.symlink_metadata().map_err(Error::io("read", taken))?;
        if !kind.is_file() {
            // Whatever it is, it is no guest.
            let _ = fs::remove_file(taken);
            return Err(Error::NotRegular(path));
        }
        // The folder may be open to others, and what a guest has in its memory is secret.
        fs::set_permissions(taken, fs::Permissions::from_mode(0o600))
            .map_err(Error::io("keep others from", taken))?;
        if kind.len() == 0 {
            return Err(Error::io("read", &path)(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(())
}

/// For folders on different file systems. Holes stay holes: of what changed in a guest they say what did not.
fn copy(path: &Path, to: &Path) -> Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let from = fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let from = from.map_err(Error::io("open", path))?;
    if !from.metadata().map_err(Error::io("read", path))?.is_file() {
        return Err(Error::NotRegular(path.to_owned()));
    }
    copy_to_new(&from, to, &Task::new())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn files(temp: &tempfile::TempDir) -> Files {
        Files {
            data: temp.path().to_owned(),
            runtime: temp.path().join("run"),
        }
    }

    #[test]
    fn what_was_written_is_moved_and_a_link_is_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let files = files(&temp);
        let to = temp.path().join("to");
        fs::create_dir(&to).unwrap();
        make(&files).unwrap();
        offer(&files).unwrap();
        assert!(take(&files, &to).is_err(), "nothing was written");
        offer(&files).unwrap();
        for name in [STATE, MEMORY] {
            fs::write(files.handover().join(name), name).unwrap();
        }
        take(&files, &to).unwrap();
        assert_eq!(fs::read(to.join(MEMORY)).unwrap(), MEMORY.as_bytes());
        assert_eq!(to.join(MEMORY).metadata().unwrap().mode() & 0o777, 0o600);
        let secret = temp.path().join("secret");
        fs::write(&secret, "mine").unwrap();
        fs::write(files.handover().join(STATE), "x").unwrap();
        std::os::unix::fs::symlink(&secret, files.handover().join(MEMORY)).unwrap();
        assert!(matches!(take(&files, &to), Err(Error::NotRegular(_))));
        assert!(!to.join(MEMORY).is_symlink() && secret.exists());
    }

    #[test]
    fn a_vmm_that_found_its_disk_full_says_so_in_the_kernel_s_words() {
        use crate::Class;

        let files = files(&tempfile::tempdir().unwrap());
        let refused = |message: &str| {
            let vmm = "firecracker".to_owned();
            let message = message.to_owned();
            explain(&files, Error::VmmRefused { vmm, message })
        };
        let said = [
            (
                "write on the memory backing file",
                "No space left on device (os error 28)",
                MEMORY,
            ),
            (
                "write on the snapshot backing file",
                "Disk quota exceeded (os error 122)",
                STATE,
            ),
        ];
        for (what, kernel, name) in said {
            let error = refused(&format!("Create snapshot error: Cannot perform {what}: {kernel}"));
            assert_eq!(error.class(), Class::Resources, "{error}");
            assert!(error.hint().unwrap().starts_with("make room"));
            let path = files.handover().join(name);
            assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
        }
        let other =
            refused("Cannot perform write on the memory backing file: Input/output error (os error 5)");
        assert_eq!(other.class(), Class::Vmm);
    }

    #[test]
    fn a_blank_is_no_link_to_something_else() {
        let temp = tempfile::tempdir().unwrap();
        let files = files(&temp);
        let secret = temp.path().join("secret");
        fs::write(&secret, "mine").unwrap();
        make(&files).unwrap();
        std::os::unix::fs::symlink(&secret, files.handover().join("blank")).unwrap();
        assert!(blank(&files).is_err());
        make(&files).unwrap();
        assert_eq!(blank(&files).unwrap().metadata().unwrap().len(), BLANK);
        assert_eq!(fs::read(&secret).unwrap(), b"mine");
    }
}
