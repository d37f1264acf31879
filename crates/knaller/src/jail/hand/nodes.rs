//! The devices of a machine's user: nodes that it owns, in a file system in memory that has nothing else. The host's own may be
//! for a group alone, and the file system they are in cannot show them as another's.

use std::fs::Metadata;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chownat, mkdirat, mknodat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::{Access, DEVICES, Entry, attributes, set};

/// Nodes and folders in there, at most.
const INODES: &str = "256";

/// Makes them in a mount that is to be at `/dev`.
pub(super) fn make(devices: &[(Entry, Metadata)], user: u32) -> io::Result<OwnedFd> {
    let made = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("mode", "0755"), ("size", "64k"), ("nr_inodes", INODES)] {
        fsconfig_set_string(&made, key, value)?;
    }
    fsconfig_create(&made)?;
    let mount = fsmount(&made, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    for (entry, metadata) in devices {
        node(&mount, entry, metadata, user)?;
    }
    set(&mount, attributes(Access::Device), None::<OwnedFd>)?;
    Ok(mount)
}

fn node(mount: &OwnedFd, entry: &Entry, metadata: &Metadata, user: u32) -> io::Result<()> {
    let name = entry.path.strip_prefix(DEVICES).map_err(|_| {
        let text = format!("{} is a device outside of {DEVICES}", entry.path.display());
        io::Error::new(io::ErrorKind::Unsupported, text)
    })?;
    let mut folders: Vec<&Path> = name.ancestors().skip(1).collect();
    folders.reverse();
    for folder in folders
        .into_iter()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        match mkdirat(mount, folder, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let kind = if metadata.file_type().is_block_device() {
        FileType::BlockDevice
    } else {
        FileType::CharacterDevice
    };
    let mode = match entry.access {
        Access::Read | Access::Run | Access::ReadDisk => Mode::RUSR,
        _ => Mode::RUSR | Mode::WUSR,
    };
    mknodat(mount, name, kind, mode, metadata.rdev())?;
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
    Ok(chownat(
        mount,
        name,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}
