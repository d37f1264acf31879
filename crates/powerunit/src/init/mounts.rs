//! The kernel's own file systems, as data, and what makes them usable: links, modes, and the image's own /run.
//!
//! The invariant: what is mounted already, or there already, is left as it is, so that an image's own init finds
//! nothing that it would not have made itself.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::{files, tree};

/// A file system of the kernel's own to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Both the type and, by custom, the source.
    pub(super) filesystem: &'static str,
    pub(super) target: &'static str,
    pub(super) flags: MountFlags,
    pub(super) options: &'static str,
}

/// A file system that could not be mounted, or a name in one that could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot mount {filesystem} on {target}")]
    Mount {
        filesystem: &'static str,
        target: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot make {path}")]
    Make {
        path: &'static str,
        #[source]
        source: std::io::Error,
    },
}

const NOSUID: MountFlags = MountFlags::NOSUID;
const NOSUID_NODEV: MountFlags = NOSUID.union(MountFlags::NODEV);
const NO_FILES_OF_USERS: MountFlags = NOSUID_NODEV.union(MountFlags::NOEXEC);

/// Mounted in the initramfs, before anything else; they move into the root file system later.
pub(super) const EARLY: [Mount; 3] = [
    Mount {
        filesystem: "devtmpfs",
        target: "/dev",
        flags: NOSUID,
        options: "mode=0755",
    },
    Mount {
        filesystem: "proc",
        target: "/proc",
        flags: NO_FILES_OF_USERS,
        options: "",
    },
    Mount {
        filesystem: "sysfs",
        target: "/sys",
        flags: NO_FILES_OF_USERS,
        options: "",
    },
];

/// The group `tty` of every distribution.
const DEVPTS_OPTIONS: &str = "gid=5,mode=620,ptmxmode=666";

/// Mounted inside the early ones, with which they move. Options are those of systemd, so that it takes them for its own.
pub(super) const KERNEL: [Mount; 4] = [
    Mount {
        filesystem: "devpts",
        target: "/dev/pts",
        flags: NOSUID.union(MountFlags::NOEXEC),
        options: DEVPTS_OPTIONS,
    },
    Mount {
        filesystem: "tmpfs",
        target: "/dev/shm",
        flags: NOSUID_NODEV,
        options: "mode=1777",
    },
    Mount {
        filesystem: "mqueue",
        target: "/dev/mqueue",
        flags: NO_FILES_OF_USERS,
        options: "",
    },
    Mount {
        filesystem: "cgroup2",
        target: "/sys/fs/cgroup",
        flags: NO_FILES_OF_USERS,
        options: "nsdelegate,memory_recursiveprot",
    },
];

const RUN: Mount = Mount {
    filesystem: "tmpfs",
    target: "/run",
    flags: NOSUID_NODEV,
    options: "mode=0755",
};
const TMP: Mount = Mount {
    filesystem: "tmpfs",
    target: "/tmp",
    flags: NOSUID_NODEV,
    options: "mode=1777",
};

/// Links that programs expect, and where they lead.
const LINKS: [(&str, &str); 5] = [
    guest_protocol::names::MTAB,
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Folders that any user may write to, each its own files. `/run/lock` is new with every `/run`.
const SHARED_FOLDERS: [&str; 3] = ["/tmp", "/var/tmp", "/run/lock"];

/// What is not mounted yet when the root file system is there; with a `/tmp` of its own for one that has nothing to write to.
pub(super) fn late(tmp: bool) -> impl Iterator<Item = Mount> {
    let kernel = KERNEL.into_iter().filter(|mount| !is_mounted(mount.target));
    kernel.chain([RUN]).chain(tmp.then_some(TMP))
}

/// Whether the folder is another file system than its parent.
fn is_mounted(target: &str) -> bool {
    let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev);
    let target = Path::new(target);
    match (device(target), target.parent().map(device)) {
        (Ok(own), Some(Ok(parents))) => own != parents,
        _ => false,
    }
}

/// Mounts `mount`, making its folder where there is none.
pub(super) fn apply(mount: &Mount) -> Result<(), Error> {
    let Mount {
        filesystem,
        target,
        flags,
        options,
    } = *mount;
    let fail = |source| Error::Mount {
        filesystem,
        target,
        source,
    };
    match files::make_folder(Path::new(target), Mode::from_raw_mode(0o755)) {
        // On a read-only root the mount itself says that there is no such folder.
        Err(e) if e.kind() != std::io::ErrorKind::ReadOnlyFilesystem => return Err(fail(e)),
        _ => {}
    }
    let options = CString::new(options).unwrap_or_default();
    let options = (!options.is_empty()).then_some(options.as_c_str());
    match rustix::mount::mount(filesystem, target, filesystem, flags, options) {
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(e) => Err(fail(e.into())),
    }
}

/// What is copied to `/run`: it takes memory for good.
const RUN_RULES: tree::Rules = tree::Rules {
    entries: 2_000,
    file: 64 * 1024,
    lenient: true,
    without: None,
};

/// Puts into the fresh `/run` what the image had at that place: services expect the folders that their packages made.
/// `image` is the image's folder, opened before it was covered. What cannot be copied must be done without.
pub(super) fn fill_run(image: &OwnedFd) {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(run) = rustix::fs::open(RUN.target, flags, Mode::empty()) {
        let _ = tree::copy(image, &run, RUN_RULES);
    }
}

/// Makes what the mounts do not bring: links in /dev, and the folders that everybody may write to. Gives what failed.
pub(super) fn finish() -> Vec<Error> {
    // For /etc/mtab; a root without /etc that cannot be written to is as its maker wanted it.
    let _ = files::make_folder(Path::new("/etc"), Mode::from_raw_mode(0o755));
    let links = LINKS.into_iter().map(|(path, target)| (path, link(path, target)));
    let ptmx = Path::new("/dev/ptmx").exists();
    let ptmx = (!ptmx).then(|| ("/dev/ptmx", link("/dev/ptmx", "pts/ptmx")));
    let folders = SHARED_FOLDERS
        .into_iter()
        .map(|path| (path, share(Path::new(path))));
    let made = links.chain(ptmx).chain(folders);
    made.filter_map(|(path, made)| made.err().map(|source| Error::Make { path, source }))
        .collect()
}

fn link(path: &str, target: &str) -> std::io::Result<()> {
    match rustix::fs::symlink(target, path) {
        // A root that cannot be written to, or has no /etc, is as its maker wanted it.
        Ok(()) | Err(Errno::EXIST | Errno::ROFS | Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Gives `path` the mode of a folder for all, making it if its parent is there.
fn share(path: &Path) -> std::io::Result<()> {
    let all = Mode::from_raw_mode(0o1777);
    match rustix::fs::mkdir(path, all) {
        Ok(()) | Err(Errno::EXIST) => {}
        // An image without /var needs no /var/tmp; what cannot be written to must do as it is.
        Err(Errno::NOENT | Errno::ROFS) => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    let stat = rustix::fs::lstat(path)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Symlink && !path.exists() {
        files::make_folder(path, all)?;
        return Ok(rustix::fs::chmod(path, all)?);
    }
    if kind != FileType::Directory || Mode::from_raw_mode(stat.st_mode) == all {
        return Ok(());
    }
    match rustix::fs::chmod(path, all) {
        Ok(()) | Err(Errno::ROFS) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn parents_come_before_what_is_mounted_inside_them() {
        let all: Vec<Mount> = EARLY.into_iter().chain(late(true)).collect();
        for (index, mount) in all.iter().enumerate() {
            let mut later = all.iter().skip(index + 1);
            assert!(
                !later.any(|later| mount.target.starts_with(&format!("{}/", later.target))),
                "{mount:?}"
            );
        }
    }

    #[test]
    fn shared_folders_get_their_mode_and_links_stay_links() {
        let folder = tempfile::tempdir().unwrap();
        let (tmp, link) = (folder.path().join("tmp"), folder.path().join("link"));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        share(&tmp).unwrap();
        assert_eq!(mode(&tmp), 0o1777);
        std::fs::create_dir(folder.path().join("private")).unwrap();
        std::fs::set_permissions(folder.path().join("private"), PermissionsExt::from_mode(0o700)).unwrap();
        symlink("private", &link).unwrap();
        share(&link).unwrap();
        assert_eq!(mode(&folder.path().join("private")), 0o700);
        let nowhere = folder.path().join("nowhere");
        symlink("var/tmp", &nowhere).unwrap();
        share(&nowhere).unwrap();
        assert_eq!(mode(&folder.path().join("var/tmp")), 0o1777);
        share(&folder.path().join("no/parent")).unwrap();
    }
}
