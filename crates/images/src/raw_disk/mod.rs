//! A disk that the caller owns and a machine uses as it is: a block device, or a raw ext4 file.
//!
//! The invariant: nothing here writes to it, and what is mounted, swapped to or held by something else on this host is refused.
//! The checks are made before a machine starts; [`claim()`] is what holds while it runs.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::ext4::{Superblock, SuperblockError};
use crate::files::ReadError;
use crate::rootfs::{loop_device, writer};

mod claim;
mod contents;
mod holder;

pub use claim::{Claimed, OTHERS, claim};
pub use contents::Contents;

/// Why a disk of the caller's is not used.
#[derive(Debug, thiserror::Error)]
pub enum RawDiskError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{path} is neither a block device nor a regular file")]
    NoDisk { path: PathBuf },
    #[error("{path} may not be written by this user: ask its owner for write access, or use it read-only")]
    NotWritable { path: PathBuf },
    #[error("{path} is empty. Make a file system on it first: mkfs.ext4 {path}")]
    Empty { path: PathBuf },
    #[error(
        "{path} has a partition table, and a machine's root is one file system. Use the partition that holds it: lsblk -f shows \
         those of a device, losetup -fP --show makes devices of those in a file"
    )]
    Partitioned { path: PathBuf },
    #[error("{path} holds {what}, and a machine's root is an ext4 file system")]
    Other { path: PathBuf, what: Contents },
    #[error("{path} is no file system that can be used")]
    Superblock { path: PathBuf, source: SuperblockError },
    #[error("{path} is cut off: it has {size} bytes, and the file system in it {needed}")]
    CutOff { path: PathBuf, size: u64, needed: u64 },
    #[error("{path} was not unmounted cleanly or has errors. Run: e2fsck -f {path}")]
    Unclean { path: PathBuf },
    #[error(
        "{path} has to be recovered from its journal, which nobody does who only reads it. Run: e2fsck -p {path}"
    )]
    Unrecovered { path: PathBuf },
    #[error("{path} is in use: {by}. Two that use a disk at once destroy what is on it")]
    InUse { path: PathBuf, by: String },
}

/// Which disk a path leads to, whatever the path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A block device, by its number: it may have several nodes.
    Device(u64),
    /// A file, by its file system's device and its inode.
    File(u64, u64),
}

impl Identity {
    /// All that a path stands for: the disk itself, and for a loop device the file below it too. Nothing if there is none.
    #[must_use]
    pub fn of(path: &Path) -> Vec<Self> {
        let Some(own) = Self::itself(path) else {
            return Vec::new();
        };
        let below = match own {
            Self::Device(number) => holder::backing_file(number).and_then(|path| Self::itself(&path)),
            Self::File(..) => None,
        };
        std::iter::once(own).chain(below).collect()
    }

    fn itself(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        if metadata.file_type().is_block_device() {
            return Some(Self::Device(metadata.rdev()));
        }
        Some(Self::File(metadata.dev(), metadata.ino()))
    }
}

/// Refuses what cannot be a machine's root: it holds no whole ext4 file system, something on this host uses it, or this
/// user may not write to it and `read_only` was not asked for. Gives its path without links.
///
/// # Errors
/// As said.
pub fn check(path: &Path, read_only: bool) -> Result<PathBuf, RawDiskError> {
    let broken = |source| ReadError::new(path, source);
    let real = path.canonicalize().map_err(broken)?;
    let owned = || path.to_owned();
    let metadata = real.metadata().map_err(broken)?;
    let device = metadata.file_type().is_block_device();
    if !device && !metadata.is_file() {
        return Err(RawDiskError::NoDisk { path: owned() });
    }
    let used = |by| RawDiskError::InUse { path: owned(), by };
    if device {
        free_device(&real, metadata.rdev()).map_err(|error| match error {
            Busy::By(by) => used(by),
            Busy::Unknown(source) => RawDiskError::Read(broken(source)),
        })?;
    }
    let file = File::open(&real).map_err(broken)?;
    if let Some(by) = writer(&file).or_else(|| loop_device(&real)) {
        return Err(used(format!("{by} writes to it")));
    }
    if let Some(by) = holder::swap(&real) {
        return Err(used(by));
    }
    if !read_only && rustix::fs::access(&real, Access::WRITE_OK).is_err() {
        return Err(RawDiskError::NotWritable { path: owned() });
    }
    let size = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|source| broken(source.into()))?;
    file_system(&file, path, size, read_only)?;
    Ok(real)
}

fn file_system(file: &File, path: &Path, size: u64, read_only: bool) -> Result<(), RawDiskError> {
    let broken = |source| ReadError::new(path, source);
    let owned = || path.to_owned();
    let superblock = match Superblock::read(file).map_err(broken)? {
        Ok(superblock) => superblock,
        Err(source) => {
            let path = owned();
            return Err(match contents::of(file).map_err(broken)? {
                Some(Contents::Nothing) => RawDiskError::Empty { path },
                Some(Contents::Partitions) => RawDiskError::Partitioned { path },
                Some(what) => RawDiskError::Other { path, what },
                None => RawDiskError::Superblock { path, source },
            });
        }
    };
    if superblock.size > size {
        let (path, needed) = (owned(), superblock.size);
        return Err(RawDiskError::CutOff { path, size, needed });
    }
    if superblock.unclean || superblock.has_errors {
        return Err(RawDiskError::Unclean { path: owned() });
    }
    if superblock.needs_recovery && read_only {
        return Err(RawDiskError::Unrecovered { path: owned() });
    }
    Ok(())
}

enum Busy {
    By(String),
    Unknown(std::io::Error),
}

/// Asks the kernel: a device that is mounted, swapped to, part of another device or of a machine cannot be opened for one alone
/// (open(2), `O_EXCL`), nor can one of whose partitions that is so.
fn free_device(path: &Path, number: u64) -> Result<(), Busy> {
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(_) => Ok(()),
        Err(Errno::BUSY) => Err(Busy::By(holder::of(number))),
        Err(error) => Err(Busy::Unknown(error.into())),
    }
}

#[cfg(test)]
mod tests;
