//! A folder as a root file system: packed as `tar --xattrs --acls --numeric-owner` would.
//!
//! The invariant: what is packed is what lies there, by number and byte: owners, modes, times, hard links, extended attributes,
//! devices. As tar does, it crosses into other file systems that are mounted within. Left out, with a notice, is what no layer
//! can hold: sockets, and names that mean a removal in a layer.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, lgetxattr, llistxattr, major, minor};
use rustix::io::Errno;
use tar::Builder;

use super::pack::origin;
use super::{Brought, ImportError, Options};
use crate::files::ReadError;
use crate::pack::{Entry, Kind, append};
use crate::store::{Adding, LayerWriter};
use crate::task::Task;

/// Begins the names that remove others (OCI image specification, `layer.md`, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// The labels of this machine's own policy.
const SELINUX: &[u8] = b"security.selinux";
/// The largest value of an extended attribute (`XATTR_SIZE_MAX`, limits.h), and list of names (`XATTR_LIST_MAX`).
const MAX_XATTR: usize = 64 << 10;

/// Makes an image of one layer of the folder `root`.
pub(super) fn pack(
    adding: &Adding,
    root: &Path,
    options: &Options,
    task: &Task,
) -> Result<Brought, ImportError> {
    let mut packer = Packer {
        tar: Builder::new(adding.layer()?),
        links: HashMap::new(),
        notices: Vec::new(),
        task,
    };
    let mut count = 0u64;
    // The next last, so that names come in order and a folder before what is in it.
    let mut pending = vec![(root.to_owned(), PathBuf::from("./"))];
    while let Some((path, name)) = pending.pop() {
        task.at("packing the folder", count, None)?;
        count = count.saturating_add(1);
        let metadata = path
            .symlink_metadata()
            .map_err(|source| ReadError::new(&path, source))?;
        packer.entry(&path, &name, &metadata)?;
        if metadata.is_dir() {
            let mut names = children(&path)?;
            names.sort_by(|a, b| b.cmp(a));
            // The root's own name is not part of the others'.
            let parent = if count == 1 { Path::new("") } else { &name };
            pending.extend(
                names
                    .into_iter()
                    .map(|child| (path.join(&child), parent.join(&child))),
            );
        }
    }
    let layer = packer.tar.into_inner().map_err(ImportError::Pack)?;
    Ok(Brought {
        manifest: adding.image_of(layer.finish()?, &options.platform, &origin("a folder"))?,
        names: Vec::new(),
        notices: packer.notices,
    })
}

fn children(path: &Path) -> Result<Vec<std::ffi::OsString>, ImportError> {
    let broken = |source| ReadError::new(path, source);
    let entries = fs::read_dir(path).map_err(broken)?;
    let names: Result<Vec<_>, _> = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect();
    Ok(names.map_err(broken)?)
}

struct Packer<'a> {
    tar: Builder<LayerWriter>,
    /// Where a file with several names was packed.
    links: HashMap<(u64, u64), PathBuf>,
    notices: Vec<String>,
    task: &'a Task,
}

impl Packer<'_> {
    fn entry(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<(), ImportError> {
        let kind = metadata.file_type();
        let last = path.file_name().unwrap_or_default().as_bytes();
        if last.starts_with(WHITEOUT) && name != Path::new("./") {
            self.notices.push(format!(
                "left out {}: in a layer its name means a removal",
                path.display()
            ));
            return Ok(());
        }
        if kind.is_socket() {
            self.notices
                .push(format!("left out the socket {}", path.display()));
            return Ok(());
        }
        let name = if kind.is_dir() && name != Path::new("./") {
            name.join("")
        } else {
            name.to_owned()
        };
        let stored = name.as_os_str().as_bytes();
        if !kind.is_dir() && metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&(metadata.dev(), metadata.ino())) {
                let link = describe(stored, Kind::HardLink(first.as_os_str().as_bytes()), metadata);
                return append(&mut self.tar, link, io::empty()).map_err(ImportError::Pack);
            }
            self.links.insert((metadata.dev(), metadata.ino()), name.clone());
        }
        let xattrs = xattrs(path)?;
        let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
        let target;
        let kind = if kind.is_file() {
            let file = describe(stored, Kind::File(0), metadata);
            return self.file(
                path,
                Entry {
                    xattrs: &xattrs,
                    ..file
                },
                metadata,
            );
        } else if kind.is_dir() {
            Kind::Directory
        } else if kind.is_symlink() {
            target = fs::read_link(path).map_err(|source| ReadError::new(path, source))?;
            Kind::Symlink(target.as_os_str().as_bytes())
        } else if kind.is_fifo() {
            Kind::Fifo
        } else if kind.is_char_device() {
            Kind::CharDevice(major, minor)
        } else {
            Kind::BlockDevice(major, minor)
        };
        let entry = Entry {
            xattrs: &xattrs,
            ..describe(stored, kind, metadata)
        };
        append(&mut self.tar, entry, io::empty()).map_err(ImportError::Pack)
    }

    fn file(&mut self, path: &Path, entry: Entry<'_>, metadata: &Metadata) -> Result<(), ImportError> {
        let broken = |source| ReadError::new(path, source);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = File::options()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .map_err(broken)?;
        let opened = file.metadata().map_err(broken)?;
        let changed = || ImportError::Unfit {
            path: path.to_owned(),
            what: "it was changed while it was read",
        };
        if (opened.dev(), opened.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(changed());
        }
        let mut data = Exact {
            inner: file,
            left: opened.len(),
            task: self.task,
        };
        let kind = Kind::File(opened.len());
        append(&mut self.tar, Entry { kind, ..entry }, &mut data).map_err(ImportError::Pack)?;
        if data.left == 0 { Ok(()) } else { Err(changed()) }
    }
}

/// An entry without its extended attributes.
fn describe<'a>(path: &'a [u8], kind: Kind<'a>, metadata: &Metadata) -> Entry<'a> {
    Entry {
        path,
        kind,
        mode: u16::try_from(metadata.mode() & 0o7777).unwrap_or_default(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: (
            metadata.mtime(),
            u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
        ),
        xattrs: &[],
    }
}

/// A file's extended attributes whose names are text.
fn xattrs(path: &Path) -> Result<Vec<(String, Vec<u8>)>, ImportError> {
    let broken = |error: Errno| ReadError::new(path, error.into());
    let mut names = vec![0; MAX_XATTR];
    let length = match llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(broken(error).into()),
    };
    names.truncate(length);
    let mut found = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && *name != SELINUX)
    {
        let mut value = vec![0; MAX_XATTR];
        match lgetxattr(path, name, &mut value) {
            Ok(length) => value.truncate(length),
            // Removed since, or for other eyes.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => continue,
            Err(error) => return Err(broken(error).into()),
        }
        if let Ok(name) = std::str::from_utf8(name) {
            found.push((name.to_owned(), value));
        }
    }
    Ok(found)
}

/// As many bytes as were announced, or an early end.
struct Exact<'a> {
    inner: File,
    left: u64,
    task: &'a Task,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.task.check().map_err(io::Error::other)?;
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}
