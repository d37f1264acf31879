//! Inodes of a disk as entries of a layer.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::Builder;

use super::error::{CommitError, Side};
use super::{Committed, Limits};
use crate::ext4::read::{Contents, Filesystem, Inode, InodeNumber, Kind, ReadError};
use crate::oci::{Algorithm, Hasher};
use crate::pack::{self, Entry, append};
use crate::tar::Name;
use crate::task::Task;

/// One of the two file systems, and which of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk<'a> {
    pub(super) side: Side,
    pub(super) filesystem: &'a Filesystem<'a, File>,
}

impl Disk<'_> {
    pub(super) fn failed(self, source: ReadError) -> CommitError {
        CommitError::Disk {
            side: self.side,
            source,
        }
    }
}

/// Writes entries.
pub(super) struct Packer<'a, W: Write> {
    tar: Builder<Digesting<GzEncoder<W>>>,
    limits: &'a Limits,
    task: &'a Task,
    /// The first name of each inode with several.
    links: HashMap<(Side, InodeNumber), Vec<u8>>,
    entries: u64,
    bytes: u64,
    left_out: u64,
}

impl<'a, W: Write> Packer<'a, W> {
    pub(super) fn new(out: W, limits: &'a Limits, task: &'a Task) -> Self {
        let packed = GzEncoder::new(out, Compression::default());
        Self {
            tar: Builder::new(Digesting {
                inner: packed,
                hasher: Hasher::new(Algorithm::Sha256),
                size: 0,
            }),
            limits,
            task,
            links: HashMap::new(),
            entries: 0,
            bytes: 0,
            left_out: 0,
        }
    }

    /// Says that a name of the layers below is not there, or with the name of an opaque folder's mark, that none is.
    pub(super) fn whiteout(&mut self, path: &[u8]) -> Result<(), CommitError> {
        let entry = Entry {
            path,
            kind: pack::Kind::File(0),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: &[],
        };
        self.count()?;
        append(&mut self.tar, entry, io::empty()).map_err(CommitError::Write)
    }

    /// Writes an inode under a path. `data` is where a file's data is: with the inode itself, or with another.
    pub(super) fn inode(
        &mut self,
        path: &[u8],
        disk: Disk<'_>,
        inode: &Inode,
        xattrs: Vec<(Vec<u8>, Vec<u8>)>,
        data: (Disk<'_>, &Inode),
    ) -> Result<(), CommitError> {
        if inode.kind == Kind::Socket {
            self.left_out += 1;
            return Ok(());
        }
        self.count()?;
        let all = xattrs.len();
        let text = |(name, value)| String::from_utf8(name).ok().map(|name| (name, value));
        let xattrs: Vec<_> = xattrs.into_iter().filter_map(text).collect();
        self.left_out += (all - xattrs.len()) as u64;
        let entry = |kind| Entry {
            path,
            kind,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: (inode.mtime.seconds, inode.mtime.nanoseconds),
            xattrs: &xattrs,
        };
        let first = self.first_name(path, disk.side, inode);
        if let Some(first) = &first {
            let kind = pack::Kind::HardLink(first);
            let link = Entry {
                xattrs: &[],
                ..entry(kind)
            };
            return append(&mut self.tar, link, io::empty()).map_err(CommitError::Write);
        }
        let target;
        let kind = match inode.kind {
            Kind::Directory => pack::Kind::Directory,
            Kind::File => return self.file(entry(pack::Kind::File(data.1.size)), data),
            Kind::Symlink => {
                let found = disk.filesystem.target(inode);
                target = found.map_err(|source| disk.failed(source))?;
                pack::Kind::Symlink(&target)
            }
            Kind::CharDevice { major, minor } => pack::Kind::CharDevice(major, minor),
            Kind::BlockDevice { major, minor } => pack::Kind::BlockDevice(major, minor),
            Kind::Fifo | Kind::Socket => pack::Kind::Fifo,
        };
        append(&mut self.tar, entry(kind), io::empty()).map_err(CommitError::Write)
    }

    /// The name under which an inode was written before; if it was not, this is its first.
    fn first_name(&mut self, path: &[u8], side: Side, inode: &Inode) -> Option<Vec<u8>> {
        if inode.kind == Kind::Directory || inode.links == 1 {
            return None;
        }
        let key = (side, inode.number);
        let first = self.links.get(&key).cloned();
        if first.is_none() {
            self.links.insert(key, path.to_vec());
        }
        first
    }

    fn file(&mut self, entry: Entry<'_>, (disk, inode): (Disk<'_>, &Inode)) -> Result<(), CommitError> {
        if inode.size > self.limits.file {
            return Err(limit("single files' bytes", self.limits.file, "file"));
        }
        self.bytes = self.bytes.saturating_add(inode.size);
        if self.bytes > self.limits.total {
            return Err(limit("bytes", self.limits.total, "total"));
        }
        self.task.at("packing the changes", self.bytes, None)?;
        let contents = disk.filesystem.contents(inode);
        let mut data = Data {
            contents: contents.map_err(|source| disk.failed(source))?,
            task: self.task,
            failed: None,
        };
        let written = append(&mut self.tar, entry, &mut data);
        self.task.check()?;
        match data.failed {
            Some(source) => Err(CommitError::Data {
                side: disk.side,
                source,
            }),
            None => written.map_err(CommitError::Write),
        }
    }

    fn count(&mut self) -> Result<(), CommitError> {
        self.task.check()?;
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(limit("files", self.limits.entries, "entries"));
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Committed, CommitError> {
        let written = self.tar.into_inner().map_err(CommitError::Write)?;
        let mut out = written.inner.finish().map_err(CommitError::Write)?;
        out.flush().map_err(CommitError::Write)?;
        Ok(Committed {
            diff_id: written.hasher.finish(),
            size: written.size,
            entries: self.entries,
            left_out: self.left_out,
        })
    }
}

pub(super) fn limit(what: &'static str, limit: u64, name: &'static str) -> CommitError {
    CommitError::Limit { what, limit, name }
}

/// The path of a name in a folder, which may be the root's empty one.
pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}

pub(super) fn shown(path: &[u8]) -> Name {
    Name(path.to_vec())
}

/// A file's data while it is packed: that reading failed is told apart from that writing did.
struct Data<'a> {
    contents: Contents<'a, 'a, File>,
    task: &'a Task,
    failed: Option<io::Error>,
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.task.check().map_err(io::Error::other)?;
        self.contents.read(buffer).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }
}

/// Counts and digests what goes through.
struct Digesting<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
