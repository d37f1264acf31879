//! The root file system: what must be mounted for it, as a plan, and its execution.
//!
//! The invariant: the plan mounts below the initramfs only, at [`ROOT`], [`BASE`] and [`UPPER`]; nothing of the initramfs
//! changes before the whole root stands.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use guest_protocol::{Disk, Root, Volume, VolumeSource};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::device;
use crate::files;

/// Where the root file system is mounted before it becomes `/`.
pub(super) const ROOT: &str = "/sysroot";
/// The parts of an overlay: the disk shared by many VMs, and this VM's own.
pub(super) const BASE: &str = "/base";
pub(super) const UPPER: &str = "/upper";

/// The overlay's folders on its upper disk.
const CHANGES: &str = "/upper/upper";
const WORK: &str = "/upper/work";

/// Folders of the lower disk can be renamed only with `redirect_dir`; without it programs that do so (package managers
/// among them) see EXDEV (Documentation/filesystems/overlayfs.rst).
const OPTIONS: &str = "lowerdir=/base,upperdir=/upper/upper,workdir=/upper/work,redirect_dir=on";
const PLAIN_OPTIONS: &str = "lowerdir=/base,upperdir=/upper/upper,workdir=/upper/work";

/// Why there is no root file system.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Device(#[from] device::Error),
    #[error("`{0}` is no name of a file system")]
    Filesystem(String),
    #[error("the overlay's upper disk {0} must be writable")]
    ReadOnlyUpper(String),
    #[error("cannot make {path}")]
    Folder {
        path: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("the kernel has no {filesystem}, which {device} is said to hold")]
    Unsupported { filesystem: String, device: String },
    #[error("{device} holds no intact {filesystem}")]
    Corrupt {
        filesystem: String,
        device: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot mount {device} as {filesystem}")]
    Mount {
        filesystem: String,
        device: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot join base and upper disk by overlayfs")]
    Overlay(#[source] std::io::Error),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Mount {
        disk: Disk,
        read_only: bool,
        target: &'static str,
    },
    Overlay,
}

/// Mounts the root at [`ROOT`]. False if the initramfs is to be the root itself.
pub(super) fn mount(root: &Root) -> Result<bool, Error> {
    let steps = plan(root)?;
    for step in &steps {
        match step {
            Step::Mount {
                disk,
                read_only,
                target,
            } => {
                folder(target, 0o755)?;
                mount_disk(disk, *read_only, Path::new(target))?;
            }
            Step::Overlay => join()?,
        }
    }
    Ok(!steps.is_empty())
}

/// Whether the kernel has everything for `root` and `volumes`: the disks' drivers and the file systems.
pub(super) fn can_mount(root: &Root, volumes: &[Volume]) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let there =
        |disk: &Disk| Path::new("/dev").join(&disk.device).exists() && knows(&known, &disk.filesystem);
    disks(root, volumes).all(there) && (!matches!(root, Root::Overlay { .. }) || knows(&known, "overlay"))
}

/// Whether no disk of `root` and `volumes` is to be waited for.
pub(super) fn is_settled(root: &Root, volumes: &[Volume]) -> bool {
    disks(root, volumes).all(|disk| device::is_settled(&disk.device))
}

fn disks<'a>(root: &'a Root, volumes: &'a [Volume]) -> impl Iterator<Item = &'a Disk> {
    let root = match root {
        Root::Initramfs => [None, None],
        Root::Disk { disk } => [Some(disk), None],
        Root::Overlay { base, upper } => [Some(base), Some(upper)],
    };
    let volumes = volumes.iter().filter_map(|volume| match &volume.source {
        VolumeSource::Folder => None,
        VolumeSource::Disk(disk) => Some(disk),
    });
    root.into_iter().flatten().chain(volumes)
}

/// Whether /proc/filesystems lists a file system: `nodev` or nothing, a tab, the name.
fn knows(filesystems: &str, name: &str) -> bool {
    filesystems
        .lines()
        .any(|line| line.split('\t').nth(1) == Some(name))
}

fn plan(root: &Root) -> Result<Vec<Step>, Error> {
    let disk = |disk: &Disk, read_only: bool, target: &'static str| {
        check(disk).map(|()| Step::Mount {
            disk: disk.clone(),
            read_only,
            target,
        })
    };
    match root {
        Root::Initramfs => Ok(Vec::new()),
        Root::Disk { disk: root } => Ok(vec![disk(root, root.read_only, ROOT)?]),
        Root::Overlay { upper, .. } if upper.read_only => Err(Error::ReadOnlyUpper(upper.device.clone())),
        Root::Overlay { base, upper } => Ok(vec![
            disk(base, true, BASE)?,
            disk(upper, false, UPPER)?,
            Step::Overlay,
        ]),
    }
}

/// The name of a file system is a word, which says what /proc/filesystems is searched for.
fn check(disk: &Disk) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if disk.filesystem.is_empty() || !disk.filesystem.bytes().all(plain) {
        return Err(Error::Filesystem(disk.filesystem.clone()));
    }
    Ok(())
}

/// Mounts a disk on a folder. A fresh ext4 is mounted without filling its unused inode tables in the background: that
/// would write a sparse disk full of zeros, and take the disk's time while the VM starts
/// (Documentation/admin-guide/ext4.rst).
pub(super) fn mount_disk(disk: &Disk, read_only: bool, target: &Path) -> Result<(), Error> {
    check(disk)?;
    let device = device::find(&disk.device)?;
    let flags = if read_only {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    let Disk { filesystem, .. } = disk;
    let options = (filesystem == "ext4" && !read_only).then_some(c"noinit_itable");
    rustix::mount::mount(&device, target, filesystem.as_str(), flags, options).map_err(|e| {
        let (filesystem, device) = (filesystem.clone(), disk.device.clone());
        match e {
            Errno::NODEV => Error::Unsupported { filesystem, device },
            // What ext4 and its like say of a superblock they do not know, or whose checks fail.
            Errno::INVAL | Errno::UCLEAN | Errno::BADMSG | Errno::IO => Error::Corrupt {
                filesystem,
                device,
                source: e.into(),
            },
            e => Error::Mount {
                filesystem,
                device,
                source: e.into(),
            },
        }
    })
}

fn join() -> Result<(), Error> {
    if folder(CHANGES, 0o755)? {
        // `/` of the overlay shows the owner and mode of its uppermost folder.
        let base = Path::new(BASE).metadata().map_err(|source| Error::Folder {
            path: CHANGES,
            source,
        })?;
        let (owner, group) = (Uid::from_raw(base.uid()), Gid::from_raw(base.gid()));
        rustix::fs::chown(CHANGES, Some(owner), Some(group))
            .and_then(|()| rustix::fs::chmod(CHANGES, Mode::from_raw_mode(base.mode())))
            .map_err(|e| Error::Folder {
                path: CHANGES,
                source: e.into(),
            })?;
    }
    folder(WORK, 0o755)?;
    folder(ROOT, 0o755)?;
    let mount = |options: &str| {
        let options = CString::new(options).unwrap_or_default();
        rustix::mount::mount(
            "overlay",
            ROOT,
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        )
    };
    match mount(OPTIONS) {
        Err(Errno::INVAL) => mount(PLAIN_OPTIONS),
        result => result,
    }
    .map_err(|e| Error::Overlay(e.into()))
}

fn folder(path: &'static str, mode: u32) -> Result<bool, Error> {
    files::make_folder(Path::new(path), Mode::from_raw_mode(mode))
        .map_err(|source| Error::Folder { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(device: &str, filesystem: &str, read_only: bool) -> Disk {
        Disk {
            device: device.into(),
            filesystem: filesystem.into(),
            read_only,
        }
    }

    #[test]
    fn an_overlay_never_writes_to_its_base() {
        let base = disk("vda", "squashfs", false);
        let upper = disk("vdb", "ext4", false);
        let steps = plan(&Root::Overlay {
            base: base.clone(),
            upper: upper.clone(),
        })
        .unwrap();
        assert_eq!(
            steps,
            [
                Step::Mount {
                    disk: base,
                    read_only: true,
                    target: BASE
                },
                Step::Mount {
                    disk: upper,
                    read_only: false,
                    target: UPPER
                },
                Step::Overlay,
            ]
        );
    }

    #[test]
    fn a_disk_is_mounted_as_it_says() {
        for read_only in [false, true] {
            let disk = disk("vda", "ext4", read_only);
            let steps = plan(&Root::Disk { disk: disk.clone() }).unwrap();
            assert_eq!(
                steps,
                [Step::Mount {
                    disk,
                    read_only,
                    target: ROOT
                }]
            );
        }
        assert_eq!(plan(&Root::Initramfs).unwrap(), []);
    }

    #[test]
    fn file_systems_are_known_by_their_whole_names() {
        let known = "nodev\tsysfs\nnodev\toverlay\n\text4\n";
        assert!(knows(known, "ext4") && knows(known, "overlay"));
        assert!(!knows(known, "ext") && !knows(known, "nodev") && !knows(known, ""));
        assert!(can_mount(&Root::Initramfs, &[]));
        let volume = |source| Volume {
            path: "/data".into(),
            source,
            read_only: false,
        };
        assert!(can_mount(&Root::Initramfs, &[volume(VolumeSource::Folder)]));
        let missing = [volume(VolumeSource::Disk(disk("vdzz", "ext4", false)))];
        assert!(!can_mount(&Root::Initramfs, &missing) && !is_settled(&Root::Initramfs, &missing));
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_mounted() {
        let root = Root::Overlay {
            base: disk("vda", "ext4", true),
            upper: disk("vdb", "ext4", true),
        };
        assert!(matches!(plan(&root), Err(Error::ReadOnlyUpper(_))));
        for name in ["", "ext4 ", "../ext4", "EXT4"] {
            let root = Root::Disk {
                disk: disk("vda", name, false),
            };
            assert!(matches!(plan(&root), Err(Error::Filesystem(_))), "{name:?}");
        }
    }
}
