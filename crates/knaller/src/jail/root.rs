//! The root of a jail: an empty file system in memory with the plan's files bound into it. The invariant: a path inside is
//! the same file as outside or is not there; and nothing is writable, runnable or a device but what the plan says so of.
//!
//! ```text
//! host's root     an empty tmpfs covers it
//!   └ tmpfs       and becomes the root; the host's is then in /old,
//!       └ old     and goes when everything is bound
//! ```
//!
//! What is bound is looked up before that: links in paths lead through the host's root. What is handed over needs no
//! look: it is a mount already, and is put at its path.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, StatVfsMountFlags, fstat, statvfs};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_bind,
    mount_bind_recursive, mount_change, mount_remount, move_mount, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use super::{Access, Entry, Error, Plan, namespaces};

/// Where the host's root is while the new one is filled.
const OLD: &str = "/old";

/// Why /proc is not its own.
const COVERED: &str = "a /proc of its own, since parts of the host's are covered here (podman and docker have --security-opt \
                       systempaths=unconfined): it sees which processes there are";

/// Flags of a mount that stay when it is changed: a user namespace may not take them off (mount_namespaces(7)).
const KEPT: [(StatVfsMountFlags, MountFlags); 7] = [
    (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
    (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
    (StatVfsMountFlags::NODEV, MountFlags::NODEV),
    (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
    (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
];

/// Makes the plan's root this process's. Gives what of it cannot be had here.
pub(super) fn build(plan: &Plan, handed: Vec<OwnedFd>) -> Result<Vec<String>, Error> {
    if handed.len() != plan.handed.len() {
        let text = format!("{} mounts came for {} entries", handed.len(), plan.handed.len());
        return Err(Error::step("take what was handed over")(io::Error::other(text)));
    }
    let mut found = Vec::new();
    for entry in &plan.entries {
        found.extend(find(entry).map_err(failed(&entry.path))?);
    }
    let of_host = namespaces::of_host().map_err(Error::step("read its user's map"))?;
    // Nothing that is mounted in here is to be seen outside.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(Error::step("part its mounts from the host's"))?;
    change().map_err(Error::step("change its root"))?;
    for (entry, source) in found {
        bind(entry, &source).map_err(failed(&entry.path))?;
    }
    for (entry, mount) in plan.handed.iter().zip(handed) {
        put(&mount, &entry.path).map_err(failed(&entry.path))?;
    }
    let without = proc(of_host).map_err(Error::step("mount /proc"))?;
    close().map_err(Error::step("leave the host's root"))?;
    chdir(&plan.home).map_err(Error::step("enter its working folder"))?;
    Ok(without.into_iter().collect())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Entry { path, source }
}

/// What an entry's path leads to; `None` for a device that is not there.
fn find(entry: &Entry) -> io::Result<Option<(&Entry, PathBuf)>> {
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if !entry.path.is_absolute() || !entry.path.components().all(plain) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is not absolute, or has ..",
        ));
    }
    match entry.path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && entry.access == Access::Device => Ok(None),
        source => Ok(Some((entry, source?))),
    }
}

/// An empty root, with the host's in /old.
fn change() -> io::Result<()> {
    let made = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("mode", "0755"), ("size", "1m"), ("nr_inodes", "16k")] {
        fsconfig_set_string(&made, key, value)?;
    }
    fsconfig_create(&made)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = fsmount(&made, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    fchdir(&root)?;
    let old = OLD.trim_start_matches('/');
    fs::create_dir(old)?;
    pivot_root(".", old)?;
    Ok(chdir("/")?)
}

fn bind(entry: &Entry, source: &Path) -> io::Result<()> {
    let source = Path::new(OLD).join(source.strip_prefix("/").unwrap_or(source));
    make_place(&entry.path, source.is_dir())?;
    mount_bind(&source, &entry.path)?;
    let mut flags = MountFlags::NOSUID | MountFlags::BIND | flags(entry.access);
    let has = statvfs(&entry.path)?.f_flag;
    for (kept, flag) in KEPT {
        if has.contains(kept) {
            flags |= flag;
        }
    }
    Ok(mount_remount(&entry.path, flags, "")?)
}

/// Puts a mount at a path.
fn put(mount: &OwnedFd, path: &Path) -> io::Result<()> {
    let kind = FileType::from_raw_mode(fstat(mount)?.st_mode);
    make_place(path, kind == FileType::Directory)?;
    Ok(move_mount(
        mount,
        "",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

/// For something to be mounted over.
fn make_place(path: &Path, folder: bool) -> io::Result<()> {
    if folder {
        return fs::create_dir_all(path);
    }
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    make_file(path)
}

/// For a file to be bound over. One that is there was bound as part of a folder, or the plan has it twice.
fn make_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)
    {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn flags(access: Access) -> MountFlags {
    match access {
        Access::Read => MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOEXEC,
        Access::Run => MountFlags::RDONLY | MountFlags::NODEV,
        Access::Write | Access::Sockets | Access::Files => MountFlags::NODEV | MountFlags::NOEXEC,
        Access::Device | Access::Disk => MountFlags::NOEXEC,
        Access::ReadDisk => MountFlags::NOEXEC | MountFlags::RDONLY,
    }
}

/// Of its own processes, and without all that is not about processes (proc(5), `subset=pid`): no /proc/sys, whose files ask
/// for root's number and not for its capabilities.
///
/// A fresh one is refused to a user namespace where parts of the present one are covered, as in most containers. Then it is
/// the present one, which shows the command lines of processes that can neither be signalled nor traced from in here. The
/// host's own root is never refused.
fn proc(of_host: bool) -> io::Result<Option<String>> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    fs::create_dir("/proc")?;
    match mount("proc", "/proc", "proc", flags, c"subset=pid") {
        Err(Errno::PERM) if !of_host => {
            mount_bind_recursive(Path::new(OLD).join("proc"), "/proc")?;
            Ok(Some(COVERED.to_owned()))
        }
        mounted => Ok(mounted.map(|()| None)?),
    }
}

fn close() -> io::Result<()> {
    unmount(OLD, UnmountFlags::DETACH)?;
    fs::remove_dir(OLD)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount_remount("/", flags, "")?)
}
