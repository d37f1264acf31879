//! Writing on the host what a guest has sent. The invariant: whatever names, links and kinds the guest makes up, nothing is
//! written but below the folder that was opened first. Every step goes from an open folder to one name in it, never
//! through a link, and a name has no slash.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, fchmod, futimens, mkdirat, openat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

/// A folder of the host that is open.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// Permission bits that are kept. A program that a guest made setuid would run with its new owner's rights here.
const KEPT: u32 = 0o777;

impl Folder {
    /// Opens a folder that the user named, links and all.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Makes or enters the folder `name`.
    pub(super) fn folder(&self, name: &str) -> io::Result<Self> {
        check(name)?;
        match mkdirat(&self.0, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Makes the file `name`, in the place of one that is there.
    pub(super) fn file(&self, name: &str) -> io::Result<File> {
        self.clear(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Makes the link `name`, in the place of a file or link that is there.
    pub(super) fn link(&self, name: &str, target: &str, modified: u32) -> io::Result<()> {
        self.clear(name)?;
        symlinkat(target, &self.0, name)?;
        Ok(utimensat(
            &self.0,
            name,
            &times(modified),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    fn clear(&self, name: &str) -> io::Result<()> {
        check(name)?;
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn finish(&self, mode: u32, modified: u32) -> io::Result<()> {
        finish(&self.0, mode, modified)
    }
}

/// Gives a finished file or folder its mode and time.
pub(super) fn finish(file: impl AsFd, mode: u32, modified: u32) -> io::Result<()> {
    fchmod(&file, Mode::from_raw_mode(mode & KEPT))?;
    Ok(futimens(&file, &times(modified))?)
}

fn times(modified: u32) -> Timestamps {
    let time = Timespec {
        tv_sec: modified.into(),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Refuses what is no name of an entry.
fn check(name: &str) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(io::Error::other(format!("the guest made up the name {name:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_link_is_never_a_way_out() {
        let temp = tempfile::tempdir().unwrap();
        let (inside, outside) = (temp.path().join("in"), temp.path().join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "kept").unwrap();
        let folder = Folder::open(&inside).unwrap();
        folder.link("way", outside.to_str().unwrap(), 0).unwrap();
        assert!(folder.folder("way").is_err());
        // A file in the place of a link replaces the link.
        symlink(outside.join("file"), inside.join("linked")).unwrap();
        folder.file("linked").unwrap();
        assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "kept");
        for bad in ["..", ".", "", "a/b", "/etc"] {
            assert!(folder.file(bad).is_err() && folder.folder(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_kept_but_for_those_that_give_rights_away() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let file = folder.file("program").unwrap();
        finish(&file, 0o6755, 1_000_000_000).unwrap();
        let metadata = temp.path().join("program").metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o755);
        let modified = metadata
            .modified()
            .unwrap()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        assert_eq!(modified.as_secs(), 1_000_000_000);
    }
}
