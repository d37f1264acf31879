//! Copying a folder with all that is in it, and emptying one.
//!
//! The invariant: no symbolic link is followed and no other file system is entered. Two folders are open at a time, however
//! deep the tree is, and no path is longer than one name: a tree may be deeper than the kernel's paths are long.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Error as IoError, Read as _, Result as IoResult, Seek as _, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, linkat,
    mkdirat, mknodat, openat, readlinkat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

/// Something could not be copied, or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", path.display())]
pub(crate) struct Error {
    what: &'static str,
    /// From the folder that it was begun with.
    path: PathBuf,
    #[source]
    source: IoError,
}

/// What is copied, and what becomes of what cannot be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How many names, and how many bytes of a file. What is over a limit is left out.
    pub(crate) entries: usize,
    pub(crate) file: u64,
    /// What cannot be copied is left out as well; else it is an error.
    pub(crate) lenient: bool,
    /// An extended attribute that is left out.
    pub(crate) without: Option<&'static CStr>,
}

/// Copies what is in `from` into `to`, with owners, modes, times to the nanosecond, extended attributes (and so access control
/// lists and capabilities), hard links among what is copied, holes, devices, FIFOs and sockets. Folders that are there already
/// are filled. `to` itself gets what is told of `from`.
pub(crate) fn copy(from: &OwnedFd, to: &OwnedFd, rules: Rules) -> Result<(), Error> {
    let failed = |path: &Path, source| Error {
        what: "copy",
        path: path.to_owned(),
        source,
    };
    let device = rustix::fs::fstat(from)
        .map_err(|e| failed(Path::new("."), e.into()))?
        .st_dev;
    let mut copying = Copying {
        to,
        device,
        rules,
        entries: rules.entries,
        linked: HashMap::new(),
        folders: vec![PathBuf::new()],
    };
    while let Some(folder) = copying.folders.pop() {
        match copying.folder(from, &folder) {
            Err(Failed { name, source }) if !rules.lenient => return Err(failed(&folder.join(name), source)),
            _ => {}
        }
    }
    Ok(())
}

/// Removes what is in `folder`, but for `keep` at its top.
pub(crate) fn empty(folder: &OwnedFd, keep: &str) -> Result<(), Error> {
    let failed = |path: &Path, source: IoError| Error {
        what: "remove",
        path: path.to_owned(),
        source,
    };
    let mut folders = vec![PathBuf::new()];
    let mut seen = 0;
    while let Some(path) = folders.get(seen).cloned() {
        seen += 1;
        let mut inside = Vec::new();
        let emptied = open_below(folder, &path).and_then(|open| {
            for name in names(&open)? {
                let top = path.as_os_str().is_empty();
                if top && name.to_bytes() == keep.as_bytes() {
                    continue;
                }
                match unlinkat(&open, &name, AtFlags::empty()) {
                    Err(Errno::ISDIR) => inside.push(path.join(as_path(&name))),
                    unlinked => unlinked?,
                }
            }
            Ok(())
        });
        emptied.map_err(|source| failed(&path, source))?;
        folders.append(&mut inside);
    }
    // Those inside others were found after them.
    for path in folders.iter().skip(1).rev() {
        let (parent, name) = split(path);
        open_below(folder, parent)
            .and_then(|parent| Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?))
            .map_err(|source| failed(path, source))?;
    }
    Ok(())
}

/// One copying.
struct Copying<'a> {
    to: &'a OwnedFd,
    /// The file system that is copied.
    device: u64,
    rules: Rules,
    /// How many names may still come.
    entries: usize,
    /// Where the first of several names of a file went.
    linked: HashMap<(u64, u64), PathBuf>,
    /// What is still to be copied: folders that have been made.
    folders: Vec<PathBuf>,
}

/// What could not be copied, and why.
struct Failed {
    name: PathBuf,
    source: IoError,
}

impl Copying<'_> {
    /// Copies what is right in a folder, and at the end what is told of the folder: its times change with every name in it.
    fn folder(&mut self, from: &OwnedFd, path: &Path) -> Result<(), Failed> {
        let itself = |source: IoError| Failed {
            name: PathBuf::new(),
            source,
        };
        let (from, to) = open_below(from, path)
            .and_then(|from| Ok((from, open_below(self.to, path)?)))
            .map_err(itself)?;
        let stat = rustix::fs::fstat(&from).map_err(|e| itself(e.into()))?;
        // What is mounted inside has a life of its own.
        if stat.st_dev == self.device {
            for name in names(&from).map_err(itself)? {
                match self.entry(&from, &to, &name, path) {
                    Err(source) if !self.rules.lenient => {
                        let name = as_path(&name).to_owned();
                        return Err(Failed { name, source });
                    }
                    _ => {}
                }
            }
        }
        self.describe(&from, &to, c".", &stat).map_err(itself)
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, folder: &Path) -> IoResult<()> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let large = kind == FileType::RegularFile && stat.st_size.unsigned_abs() > self.rules.file;
        if large || self.entries == 0 {
            return Ok(());
        }
        self.entries -= 1;
        let path = folder.join(as_path(name));
        if kind == FileType::Directory {
            match mkdirat(to, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            self.folders.push(path);
            return Ok(());
        }
        if stat.st_nlink > 1
            && let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino))
        {
            let (parent, first) = split(first);
            let parent = open_below(self.to, parent)?;
            return Ok(linkat(parent, first, to, name, AtFlags::empty())?);
        }
        match kind {
            FileType::RegularFile => copy_data(from, to, name, stat.st_size.unsigned_abs())?,
            FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name)?,
            _ => mknodat(to, name, kind, Mode::empty(), stat.st_rdev)?,
        }
        self.describe(from, to, name, &stat)?;
        if stat.st_nlink > 1 {
            self.linked.insert((stat.st_dev, stat.st_ino), path);
        }
        Ok(())
    }

    /// Gives the copy what is told of the original. The owner first: a new one takes capabilities and mode bits away.
    fn describe(&self, from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat) -> IoResult<()> {
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(to, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
        match copy_xattrs(&place(from, name)?, &place(to, name)?, self.rules.without) {
            Err(e) if !self.rules.lenient => return Err(e),
            _ => {}
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
        }
        let time = |seconds, nanoseconds: u64| Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.cast_signed(),
        };
        let times = Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        };
        Ok(utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// Copies a regular file's data, but not its holes.
fn copy_data(from: &OwnedFd, to: &OwnedFd, name: &CStr, size: u64) -> IoResult<()> {
    let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut from = File::from(openat(from, name, OFlags::RDONLY | nofollow, Mode::empty())?);
    let fresh = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | nofollow;
    let mut to = File::from(openat(to, name, fresh, Mode::RUSR | Mode::WUSR)?);
    to.set_len(size)?;
    let mut position = 0;
    while position < size {
        let data = match rustix::fs::seek(&from, rustix::fs::SeekFrom::Data(position)) {
            Ok(data) => data,
            // There is no more.
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let hole = rustix::fs::seek(&from, rustix::fs::SeekFrom::Hole(data))?;
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        std::io::copy(&mut (&mut from).take(hole - data), &mut to)?;
        position = hole;
    }
    Ok(())
}

/// Copies the extended attributes of what has one path to what has the other; neither is followed if it is a link.
fn copy_xattrs(from: &CStr, to: &CStr, without: Option<&CStr>) -> IoResult<()> {
    let mut listed = vec![0; rustix::fs::llistxattr_query(from)?];
    if listed.is_empty() {
        return Ok(());
    }
    let length = rustix::fs::llistxattr(from, listed.as_mut_slice())?;
    let listed = listed.get(..length).unwrap_or_default();
    for name in listed.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        if Some(name) == without {
            continue;
        }
        let mut value = vec![0; rustix::fs::lgetxattr_query(from, name)?];
        let length = rustix::fs::lgetxattr(from, name, value.as_mut_slice())?;
        let value = value.get(..length).unwrap_or_default();
        rustix::fs::lsetxattr(to, name, value, XattrFlags::empty())?;
    }
    Ok(())
}

/// A path to a name in an open folder, for calls that take no descriptor.
fn place(folder: &OwnedFd, name: &CStr) -> IoResult<CString> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend(name.to_bytes());
    Ok(CString::new(path)?)
}

/// Opens the folder at `path`, name by name.
fn open_below(folder: &OwnedFd, path: &Path) -> IoResult<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |folder: &OwnedFd, name: &Path| openat(folder.as_fd(), name, flags, Mode::empty());
    let start = open(folder, Path::new("."))?;
    let opened = path
        .iter()
        .try_fold(start, |folder, name| open(&folder, Path::new(name)));
    Ok(opened?)
}

fn names(folder: &OwnedFd) -> IoResult<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn as_path(name: &CStr) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

/// A path's folder, and the name in it.
fn split(path: &Path) -> (&Path, &Path) {
    let name = path.file_name().map_or(Path::new(""), Path::new);
    (path.parent().unwrap_or(Path::new("")), name)
}

#[cfg(test)]
mod tests;
