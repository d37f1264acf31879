//! Files for the jail of a user that root made up for one machine: root opens them, and hands them over as mounts that
//! are nowhere yet (open_tree(2)). The invariant: nothing on a disk is given away for it. In such a mount the owner of
//! a file is the machine's user (idmapped mounts: mount_setattr(2)), for the time of the boot and for nobody else; what
//! the VMM makes there belongs outside to the owner of the folder.
//!
//! What anybody may read by the host's paths (programs, libraries) needs none of it, and is bound as in everybody's jail.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{Access, Entry, Error, Plan};
use idmap::Maps;

mod idmap;
mod nodes;

/// Where a jail's devices are.
const DEVICES: &str = "/dev";

/// Some user that is not root, to see whether files can be shown as another's.
const ANYBODY: u32 = 1;

/// Makes mounts of what `user` could not open itself, in the order of the plan's `handed`. Blocks.
pub(crate) fn hand(plan: Plan, user: u32) -> Result<(Plan, Vec<OwnedFd>), Error> {
    let mut maps = Maps::new(user);
    let (mut entries, mut handed, mut trees) = (Vec::new(), Vec::new(), Vec::new());
    let mut devices = Vec::new();
    for entry in plan.entries {
        let failed = |source| Error::Entry {
            path: entry.path.clone(),
            source,
        };
        let metadata = match entry.path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && entry.access == Access::Device => {
                continue;
            }
            found => found.map_err(failed)?,
        };
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            devices.push((entry, metadata));
        } else if matches!(entry.access, Access::Read | Access::Run) && others_may(&entry.path, 0o4) {
            entries.push(entry);
        } else {
            trees.push(tree(&entry, &metadata, &mut maps).map_err(failed)?);
            handed.push(entry);
        }
    }
    trees.push(nodes::make(&devices, user).map_err(Error::step("make its devices"))?);
    handed.push(Entry {
        path: DEVICES.into(),
        access: Access::Device,
    });
    let plan = Plan {
        entries,
        handed,
        ..plan
    };
    Ok((plan, trees))
}

/// Whether any user has these rights to a file, by its path on the host.
pub(crate) fn others_may(path: &Path, bits: u32) -> bool {
    let has = |path: &Path, bits| {
        let found = path.metadata();
        found.is_ok_and(|found| found.permissions().mode() & bits == bits)
    };
    let Ok(real) = path.canonicalize() else {
        return false;
    };
    // Links on the way are in folders, too.
    let ways = [path, &real];
    ways.iter().all(|way| {
        way.ancestors()
            .skip(1)
            .all(|folder| folder.as_os_str().is_empty() || has(folder, 0o1))
    }) && has(&real, bits)
}

/// Whether this host can show a file of root's as another user's.
pub(crate) fn can_show(path: &Path) -> io::Result<()> {
    let entry = Entry {
        path: path.to_owned(),
        access: Access::Read,
    };
    tree(&entry, &path.metadata()?, &mut Maps::new(ANYBODY)).map(drop)
}

/// Whether this root may make devices.
pub(crate) fn can_make_devices() -> io::Result<()> {
    let path = Path::new("/dev/null");
    let null = Entry {
        path: path.to_owned(),
        access: Access::Device,
    };
    nodes::make(&[(null, path.metadata()?)], ANYBODY).map(drop)
}

fn tree(entry: &Entry, metadata: &fs::Metadata, maps: &mut Maps) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, &entry.path, flags)?;
    let map = maps.of((metadata.uid(), metadata.gid()))?;
    set(&tree, attributes(entry.access), map)?;
    Ok(tree)
}

fn attributes(access: Access) -> u64 {
    let only = match access {
        Access::Read => libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
        Access::Run => libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV,
        Access::Write | Access::Sockets | Access::Files => libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
        Access::Device | Access::Disk | Access::ReadDisk => libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC,
    };
    only | libc::MOUNT_ATTR_NOSUID
}

/// Sets a mount's attributes and parts it from the one it was made of; with a user namespace, its owners as well.
fn set(mount: &OwnedFd, attributes: u64, owners: Option<impl AsFd>) -> io::Result<()> {
    let namespace = owners.map(|owners| owners.as_fd().as_raw_fd());
    let idmap = namespace.map_or(0, |_| libc::MOUNT_ATTR_IDMAP);
    let wanted = libc::mount_attr {
        attr_set: attributes | idmap,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: u64::try_from(namespace.unwrap_or(0)).map_err(io::Error::other)?,
    };
    let flags = libc::c_long::from(libc::AT_EMPTY_PATH);
    // SAFETY: mount_setattr(2) reads an empty path, and a structure of the size that it is told; all outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_depends_on_the_whole_way() {
        let temp = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(temp.path(), 0o755);
        let folder = temp.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let file = folder.join("file");
        fs::write(&file, "").unwrap();
        mode(&folder, 0o711);
        mode(&file, 0o604);
        assert!(others_may(&file, 0o4));
        assert!(!others_may(&file, 0o5));
        let link = temp.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(others_may(&link, 0o4));
        mode(&folder, 0o700);
        assert!(!others_may(&file, 0o4) && !others_may(&link, 0o4));
        assert!(!others_may(&temp.path().join("none"), 0o4));
    }
}
