//! A folder as a root file system: packed as `tar --xattrs --acls --numeric-owner` would.
//!
//! The invariant: what is packed is what lies there, by number and byte: owners, modes, times, hard links, extended attributes,
//! devices. As tar does, it crosses into other file systems that are mounted within. Left out, with a notice, is what no layer
//! can hold: sockets, and names that mean a removal in a layer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, lgetxattr, llistxattr, major, minor};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::pack::origin;
use super::{Brought, ImportError, Options};
use crate::files::ReadError;
use crate::store::{Adding, LayerWriter};
use crate::task::Task;

/// Begins the names that remove others (OCI image specification, `layer.md`, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// The labels of this machine's own policy.
const SELINUX: &[u8] = b"security.selinux";
/// What fits a header's field; longer names go into an extension.
const NAME: usize = 100;
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
        let mut header = Header::new_ustar();
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        header.set_size(0);
        let mut extension = Extension::default();
        extension.time(&mut header, metadata);
        let name = if kind.is_dir() && name != Path::new("./") {
            name.join("")
        } else {
            name.to_owned()
        };
        if !kind.is_dir() && metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&(metadata.dev(), metadata.ino())) {
                header.set_entry_type(EntryType::Link);
                extension.link(&mut header, first.as_os_str());
                return self.append(header, extension, &name, &mut std::io::empty());
            }
            self.links.insert((metadata.dev(), metadata.ino()), name.clone());
        }
        extension.xattrs(path)?;
        if kind.is_file() {
            return self.file(path, &name, header, extension, metadata);
        }
        let entry_type = if kind.is_dir() {
            EntryType::Directory
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(|source| ReadError::new(path, source))?;
            extension.link(&mut header, target.as_os_str());
            EntryType::Symlink
        } else if kind.is_fifo() {
            EntryType::Fifo
        } else {
            set_device(&mut header, metadata.rdev()).map_err(ImportError::Pack)?;
            if kind.is_char_device() {
                EntryType::Char
            } else {
                EntryType::Block
            }
        };
        header.set_entry_type(entry_type);
        self.append(header, extension, &name, &mut std::io::empty())
    }

    fn file(
        &mut self,
        path: &Path,
        name: &Path,
        mut header: Header,
        extension: Extension,
        metadata: &Metadata,
    ) -> Result<(), ImportError> {
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
        header.set_entry_type(EntryType::Regular);
        header.set_size(opened.len());
        let mut data = Exact {
            inner: file,
            left: opened.len(),
            task: self.task,
        };
        self.append(header, extension, name, &mut data)?;
        if data.left == 0 { Ok(()) } else { Err(changed()) }
    }

    fn append(
        &mut self,
        mut header: Header,
        mut extension: Extension,
        name: &Path,
        data: &mut dyn Read,
    ) -> Result<(), ImportError> {
        let bytes = name.as_os_str().as_bytes();
        fill(&mut header.as_old_mut().name, bytes);
        if bytes.len() > NAME {
            extension.0.push(("path".to_owned(), bytes.to_vec()));
        }
        header.set_cksum();
        let records = extension
            .0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        self.tar
            .append_pax_extensions(records)
            .and_then(|()| self.tar.append(&header, data))
            .map_err(ImportError::Pack)
    }
}

fn set_device(header: &mut Header, device: u64) -> std::io::Result<()> {
    header.set_device_major(major(device))?;
    header.set_device_minor(minor(device))
}

/// As much of `bytes` as the field holds.
fn fill(field: &mut [u8], bytes: &[u8]) {
    for (place, byte) in field.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// What a header's fields cannot hold: pax records (POSIX.1-2017, XCU, pax), with star's keys for extended attributes.
#[derive(Default)]
struct Extension(Vec<(String, Vec<u8>)>);

impl Extension {
    fn time(&mut self, header: &mut Header, metadata: &Metadata) {
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        header.set_mtime(u64::try_from(seconds).unwrap_or(0));
        if nanoseconds == 0 && seconds >= 0 {
            return;
        }
        // Half a second before 1970 is second -1 and 500,000,000 ns, and is written -0.5.
        let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        let sign = if total < 0 { "-" } else { "" };
        let (whole, part) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
        self.0.push((
            "mtime".to_owned(),
            format!("{sign}{whole}.{part:09}").into_bytes(),
        ));
    }

    fn link(&mut self, header: &mut Header, target: &OsStr) {
        let bytes = target.as_bytes();
        fill(&mut header.as_old_mut().linkname, bytes);
        if bytes.len() > NAME {
            self.0.push(("linkpath".to_owned(), bytes.to_vec()));
        }
    }

    fn xattrs(&mut self, path: &Path) -> Result<(), ImportError> {
        let broken = |error: Errno| ReadError::new(path, error.into());
        let mut names = vec![0; MAX_XATTR];
        let length = match llistxattr(path, &mut names) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(error) => return Err(broken(error).into()),
        };
        names.truncate(length);
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
            let Ok(name) = std::str::from_utf8(name) else {
                continue;
            };
            self.0.push((format!("SCHILY.xattr.{name}"), value));
        }
        Ok(())
    }
}

/// As many bytes as were announced, or an early end.
struct Exact<'a> {
    inner: File,
    left: u64,
    task: &'a Task,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.task.check().map_err(std::io::Error::other)?;
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}
