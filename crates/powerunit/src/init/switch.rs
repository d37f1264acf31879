//! Making a mounted file system the machine's `/`.
//!
//! The initramfs cannot be left by pivot_root(2) (Documentation/filesystems/ramfs-rootfs-initramfs.rst), so the new
//! root is moved over it; its memory is freed by deleting what it holds. The way back is kept, for the shutdown: only
//! from below can the root be unmounted in order.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use super::modules::FOLDER;
use super::mounts;
use crate::files;

/// Where the switch failed. Before `Enter` nothing has changed that a session could not live with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot open the initramfs")]
    Open(#[source] std::io::Error),
    #[error(
        "the root file system cannot be written to, and has no folder {target} for what is mounted there"
    )]
    NoFolder { target: &'static str },
    #[error("cannot move {target} into the root file system")]
    Move {
        target: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot make the root file system the machine's root")]
    Enter(#[source] std::io::Error),
}

/// The initramfs, under the root.
#[derive(Debug)]
pub(super) struct Below(OwnedFd);

/// Makes `root` the root of this process and of all that it starts.
pub(super) fn switch(root: &str) -> Result<Below, Error> {
    let below = own_root().map_err(Error::Open)?;
    for mount in mounts::EARLY {
        let target = mount.target;
        // A link in the image is meant inside it, and not in the initramfs, where this process still is.
        let failed = |source: std::io::Error| match source.kind() {
            ErrorKind::ReadOnlyFilesystem => Error::NoFolder { target },
            _ => Error::Move { target, source },
        };
        let inside = files::within(Path::new(root), Path::new(target)).map_err(failed)?;
        files::make_folder(&inside, Mode::from_raw_mode(0o755)).map_err(failed)?;
        rustix::mount::mount_move(target, &inside).map_err(|e| failed(e.into()))?;
    }
    let enter = || {
        rustix::process::chdir(root)?;
        rustix::mount::mount_move(".", "/")?;
        rustix::process::chroot(".")?;
        rustix::process::chdir("/")
    };
    enter().map_err(|e| Error::Enter(e.into()))?;
    Ok(Below(below))
}

/// The folder that is this process's root.
pub(super) fn own_root() -> std::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/", flags, Mode::empty())?)
}

impl Below {
    /// The initramfs's folder.
    pub(super) fn folder(&self) -> std::io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Deletes the files of the initramfs. What is mounted there stays, and so does what cannot be deleted.
    pub(super) fn free(&self) {
        // Memory that is not freed is no reason to stop.
        let _ = rustix::fs::fstat(&self.0).and_then(|stat| delete_below(&self.0, stat.st_dev, 16));
    }

    /// Gives what is mounted at `path` of the initramfs a second place in the root.
    pub(super) fn show(&self, path: &str, target: &str) -> std::io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(&self.0, path.trim_start_matches('/'), flags)?;
        let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(rustix::mount::move_mount(tree, "", CWD, target, whole)?)
    }

    /// Goes back, with the root at its old place again. Everything that was mounted inside it moves along.
    pub(super) fn back(&self, root: &str) -> Result<(), Error> {
        let back = || {
            let place = root.trim_start_matches('/');
            match rustix::fs::mkdirat(&self.0, place, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
            rustix::process::fchdir(&self.0)?;
            rustix::mount::mount_move("/", place)?;
            rustix::process::chroot(".")
        };
        back().map_err(|e| Error::Enter(e.into()))
    }
}

fn delete_below(folder: &OwnedFd, device: u64, depth: usize) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if stat.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
            continue;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if depth > 0
            && let Ok(inner) = rustix::fs::openat(folder, name, flags, Mode::empty())
        {
            let _ = delete_below(&inner, device, depth - 1);
            let _ = rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR);
        }
    }
    Ok(())
}

/// Makes the initramfs fit to be the root for good: `/` loses the mode of the kernel's tmpfs, which lets anybody write.
pub(super) fn stay() {
    let _ = rustix::fs::chmod("/", Mode::from_raw_mode(0o755));
}

/// Frees the memory of the modules' files, where the initramfs is the root.
pub(super) fn free_modules() {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::openat(CWD, FOLDER, flags, Mode::empty()) else {
        return;
    };
    let _ = rustix::fs::fstat(&folder).and_then(|stat| delete_below(&folder, stat.st_dev, 1));
    let _ = rustix::fs::rmdir(FOLDER);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn deleting_stays_inside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, inside) = (folder.path().join("outside"), folder.path().join("inside"));
        std::fs::create_dir_all(inside.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "").unwrap();
        std::fs::write(inside.join("a/b/file"), "").unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        let fd = rustix::fs::open(&inside, OFlags::DIRECTORY, Mode::empty()).unwrap();
        Below(fd).free();
        assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
    }
}
