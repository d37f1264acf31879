//! The guest's memory: one file, and how it gets into a snapshot and out of one.
//!
//! Invariant: a snapshot's memory file is only read. A guest loaded from it has the file mapped privately, so that all
//! guests of one snapshot share the pages none of them has written; the file must not change while they live.
//!
//! | kind | pages | what has changed since the last snapshot |
//! |---|---|---|
//! | shared | in a file without a name (memfd), which QEMU and the devices of this process map | by comparing with the last snapshot's file |
//! | private | in the snapshot's file, written ones in QEMU's process alone | the written ones, by QEMU's table of pages |
//!
//! All files have the guest's memory from address 0 on without gaps, as Firecracker's have, holes for pages of zeros.

mod base;
mod pagemap;
mod target;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use firecracker_api::models::SnapshotType;
use rustix::fs::{MemfdFlags, SeekFrom, ftruncate, memfd_create, seek};
use rustix::io::Errno;

use self::base::Base;
use self::target::Target;
use crate::qemu::remote::Remote;

/// Bytes of a page, the unit in which memory changes.
pub const PAGE: usize = 4096;
const PAGE_U64: u64 = PAGE as u64;
/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Why memory does not get into a file.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The snapshot's file, in Firecracker's words (`CreateSnapshotError::MemoryBackingFile`).
    #[error("Cannot perform {0} on the memory backing file: {1}")]
    Target(&'static str, #[source] io::Error),
    /// The guest's own memory.
    #[error("Cannot read the guest's memory: {0}")]
    Source(#[source] io::Error),
}

/// A guest's memory.
#[derive(Debug)]
pub struct Memory {
    file: File,
    size: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// With what is known of the last snapshot.
    Shared(Option<Base>),
    Private,
}

impl Memory {
    /// New memory of this size in bytes, all zeros.
    pub fn new(size: u64) -> io::Result<Self> {
        let file = memfd_create("guest-memory", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size)?;
        Ok(Self {
            file: file.into(),
            size,
            kind: Kind::Shared(None),
        })
    }

    /// The memory in a snapshot's file, to be mapped privately.
    pub fn private(file: File, size: u64) -> io::Result<Self> {
        check_size(&file, size)?;
        Ok(Self {
            file,
            size,
            kind: Kind::Private,
        })
    }

    /// A copy of the memory in a snapshot's file.
    pub fn copy(file: File, size: u64) -> io::Result<Self> {
        check_size(&file, size)?;
        let memory = Self::new(size)?;
        each_data(&file, size, |at, bytes| memory.file.write_all_at(bytes, at))?;
        Ok(Self {
            kind: Kind::Shared(Base::of(file).ok()),
            ..memory
        })
    }

    /// Whether devices outside QEMU can map it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Shared(_))
    }

    /// Its size, bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes it into a file. The guest must stand still. Nothing is forced to the disk.
    pub fn save(&mut self, kind: SnapshotType, path: &Path, qemu: &Remote) -> Result<(), MemoryError> {
        // Looked at before the file is opened, which may be the same.
        if let Kind::Shared(base) = &mut self.kind {
            base.take_if(|base| kind == SnapshotType::Full || !base.is_unchanged());
        }
        let mut target = Target::open(path, self.size)?;
        match (&mut self.kind, kind) {
            (Kind::Shared(base), SnapshotType::Full) => {
                target.clear()?;
                each_data_of(&self.file, self.size, |at, bytes| target.put_data(at, bytes))?;
                *base = target.into_base();
            }
            (Kind::Shared(Some(base)), SnapshotType::Diff) => {
                base.each_change(&self.file, self.size, |at, bytes| target.put(at, bytes))?;
                if base.is_at(&target) {
                    self.kind = Kind::Shared(target.into_base());
                }
            }
            // What the last snapshot held is not known: all that was ever written may have changed since.
            (Kind::Shared(base), SnapshotType::Diff) => {
                each_data_of(&self.file, self.size, |at, bytes| target.put(at, bytes))?;
                if target.was_empty() {
                    *base = target.into_base();
                }
            }
            (Kind::Private, kind) => {
                let base = self.file.metadata().map_err(MemoryError::Source)?;
                if kind == SnapshotType::Full && !target.is(base.dev(), base.ino()) {
                    target.clear()?;
                    target.fill_from(&self.file, self.size)?;
                }
                pagemap::each_written(qemu, base.ino(), self.size, |at, bytes| target.put(at, bytes))?;
            }
        }
        Ok(())
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn check_size(file: &File, size: u64) -> io::Result<()> {
    let is = file.metadata()?.len();
    if is == size {
        return Ok(());
    }
    let text = format!("the file has {is} bytes, the guest {size}");
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn each_data_of(
    file: &File,
    size: u64,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), MemoryError>,
) -> Result<(), MemoryError> {
    let mut failed = None;
    let walked = each_data(file, size, |at, bytes| {
        take(at, bytes).map_err(|error| {
            failed = Some(error);
            io::ErrorKind::Other.into()
        })
    });
    match failed {
        Some(error) => Err(error),
        None => walked.map_err(MemoryError::Source),
    }
}

/// Hands over all of a file that is no hole, in pieces that begin and end with pages.
fn each_data(file: &File, size: u64, mut take: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while let Some((start, end)) = next_data(file, at, size)? {
        at = start;
        while at < end {
            let len = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let piece = &mut buffer[..len];
            file.read_exact_at(piece, at)?;
            take(at, piece)?;
            at += len as u64;
        }
    }
    Ok(())
}

/// The next piece of a file that is no hole, from `at` on, widened to whole pages.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start / PAGE_U64 * PAGE_U64,
        Err(Errno::NXIO) => return Ok(None),
        // A file system without holes.
        Err(Errno::INVAL) => return Ok(Some((at, size))),
        Err(error) => return Err(error.into()),
    };
    let end = seek(file, SeekFrom::Hole(start.max(at)))?;
    Ok(Some((start.max(at), end.next_multiple_of(PAGE_U64).min(size))))
}
