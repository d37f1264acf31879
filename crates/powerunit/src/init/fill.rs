//! Giving a fresh volume what the image has at its place, as container engines do.
//!
//! The invariant: half a copy is never taken for a whole one. While files are copied the volume has a mark, which only
//! root can set and no listing shows; where a machine finds one, the copy begins again from nothing. Nothing of the
//! image runs before the volumes are whole, so all that is below a mark is a copy's.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, XattrFlags};
use rustix::io::Errno;

use crate::tree;

/// The mark: an extended attribute of the volume's topmost folder.
const MARK: &CStr = c"trusted.powerunit.filling";

/// What mke2fs puts into every fresh file system.
const LOST_AND_FOUND: &str = "lost+found";

const RULES: tree::Rules = tree::Rules {
    entries: usize::MAX,
    file: u64::MAX,
    lenient: false,
    without: Some(MARK),
};

/// Why a volume could not be filled. It keeps its mark.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read it")]
    Read(#[source] std::io::Error),
    #[error("cannot mark it as half filled")]
    Mark(#[source] std::io::Error),
    #[error(transparent)]
    Tree(#[from] tree::Error),
    #[error("cannot bring it to the disk")]
    Sync(#[source] std::io::Error),
}

/// Copies `covered`, the folder below a `volume` that is empty, into it: its files only if they are the `image`'s, but
/// always what is told of the folder itself, which a service that is not root's own could not write to otherwise. Says
/// whether files were copied.
pub(super) fn fill(covered: &OwnedFd, image: bool, volume: &OwnedFd) -> Result<bool, Error> {
    let begun = is_marked(volume)?;
    if begun {
        tree::empty(volume, LOST_AND_FOUND)?;
    } else if !is_empty(volume)? {
        return Ok(false);
    }
    let mark = |e: Errno| Error::Mark(e.into());
    let sync = |e: Errno| Error::Sync(e.into());
    let files = image && !is_empty(covered)?;
    if files && !begun {
        rustix::fs::fsetxattr(volume, MARK, b"", XattrFlags::empty()).map_err(mark)?;
        rustix::fs::fsync(volume).map_err(sync)?;
    }
    let entries = if files { usize::MAX } else { 0 };
    tree::copy(covered, volume, tree::Rules { entries, ..RULES })?;
    if files || begun {
        rustix::fs::syncfs(volume).map_err(sync)?;
        rustix::fs::fremovexattr(volume, MARK).map_err(mark)?;
        rustix::fs::fsync(volume).map_err(sync)?;
    }
    Ok(files)
}

fn is_marked(volume: &OwnedFd) -> Result<bool, Error> {
    match rustix::fs::fgetxattr_query(volume, MARK) {
        Ok(_) => Ok(true),
        // The second: a file system that has no such attributes. Filling it will say so.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(e) => Err(Error::Read(e.into())),
    }
}

fn is_empty(folder: &OwnedFd) -> Result<bool, Error> {
    let read = |e: Errno| Error::Read(e.into());
    for entry in Dir::read_from(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") && name != LOST_AND_FOUND.as_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        std::fs::File::open(path).unwrap().into()
    }

    #[test]
    fn only_an_empty_folder_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let [image, volume] = ["image", "volume"].map(|name| folder.path().join(name));
        std::fs::create_dir(&image).unwrap();
        std::fs::create_dir_all(volume.join(LOST_AND_FOUND)).unwrap();
        assert!(!fill(&open(&image), true, &open(&volume)).unwrap());
        std::fs::write(volume.join("row"), "kept").unwrap();
        std::fs::write(image.join("other"), "").unwrap();
        assert!(!fill(&open(&image), true, &open(&volume)).unwrap());
        std::fs::remove_file(volume.join("row")).unwrap();
        std::fs::set_permissions(&image, PermissionsExt::from_mode(0o1777)).unwrap();
        assert!(!fill(&open(&image), false, &open(&volume)).unwrap());
        assert!(!volume.join("other").exists());
        assert_eq!(volume.metadata().unwrap().permissions().mode() & 0o7777, 0o1777);
    }
}
