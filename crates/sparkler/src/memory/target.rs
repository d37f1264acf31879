//! The file a snapshot's memory is written to.
//!
//! Invariant: as Firecracker's (`KvmVm::snapshot_memory_to_file`): a file of the right size is written over where it is,
//! so that a diff can be laid over its base; any other is emptied first.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, ioctl_ficlone};

use super::base::Base;
use super::{MemoryError, PAGE, each_data_of};

/// An open memory file.
#[derive(Debug)]
pub(super) struct Target {
    file: File,
    size: u64,
    /// Nothing is in it but holes.
    empty: bool,
}

impl Target {
    pub(super) fn open(path: &Path, size: u64) -> Result<Self, MemoryError> {
        let step = |name| move |error| MemoryError::Target(name, error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(step("open"))?;
        let found = file.metadata().map_err(step("get_metadata"))?.len();
        if found != size {
            file.set_len(0).map_err(step("truncate"))?;
            file.set_len(size).map_err(step("set_length"))?;
        }
        Ok(Self {
            file,
            size,
            empty: found != size,
        })
    }

    pub(super) fn is(&self, device: u64, inode: u64) -> bool {
        self.file
            .metadata()
            .is_ok_and(|data| (data.dev(), data.ino()) == (device, inode))
    }

    /// Whether it was emptied at the start: it holds what was written since and nothing else.
    pub(super) fn was_empty(&self) -> bool {
        self.empty
    }

    /// Makes all of it zeros, where only what is not will be written.
    pub(super) fn clear(&mut self) -> Result<(), MemoryError> {
        if !self.empty {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if fallocate(&self.file, how, 0, self.size).is_err() {
                let failed = |error| MemoryError::Target("truncate", error);
                self.file.set_len(0).map_err(failed)?;
                self.file.set_len(self.size).map_err(failed)?;
            }
            self.empty = true;
        }
        Ok(())
    }

    /// Makes it the same as another file. It must be clear.
    pub(super) fn fill_from(&mut self, source: &File, size: u64) -> Result<(), MemoryError> {
        self.empty = false;
        if ioctl_ficlone(&self.file, source).is_ok() {
            return Ok(());
        }
        each_data_of(source, size, |at, bytes| self.put_data(at, bytes))
    }

    /// Writes whole pages, zeros too.
    pub(super) fn put(&self, at: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.file.write_all_at(bytes, at).map_err(write_failed)
    }

    /// Writes those of whole pages that are not all zeros. The file must be clear.
    pub(super) fn put_data(&self, at: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let mut pages = bytes.chunks(PAGE).enumerate().peekable();
        while let Some((first, page)) = pages.next() {
            if is_zero(page) {
                continue;
            }
            let mut count = 1;
            while pages.next_if(|(_, page)| !is_zero(page)).is_some() {
                count += 1;
            }
            let start = first * PAGE;
            let end = (start + count * PAGE).min(bytes.len());
            self.put(at + start as u64, &bytes[start..end])?;
        }
        Ok(())
    }

    /// What later snapshots are compared with; none if it is not a file that can be read again. Only that: other guests
    /// may be loaded from it, and this process is not to be able to write into their memory.
    pub(super) fn into_base(self) -> Option<Base> {
        let read_only = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        Base::of(read_only.ok()?).ok()
    }
}

fn write_failed(error: io::Error) -> MemoryError {
    MemoryError::Target("write", error)
}

fn is_zero(page: &[u8]) -> bool {
    // SAFETY: every bit pattern is a number.
    let (head, words, tail) = unsafe { page.align_to::<u128>() };
    words.iter().all(|word| *word == 0) && head.iter().chain(tail).all(|byte| *byte == 0)
}
