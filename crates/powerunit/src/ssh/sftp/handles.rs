//! What a client has open.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Dir, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io;

use super::attributes::follow;
use super::status::{Code, Status};

/// How many files and folders a client may have open; the process's own limit is 1,024.
pub(super) const MAX_HANDLES: usize = 1000;

/// A file, or a folder that is being listed.
#[derive(Debug)]
pub(super) enum Open {
    File(OwnedFd),
    Folder(Dir),
}

impl Open {
    fn fd(&self) -> Result<BorrowedFd<'_>, Status> {
        match self {
            Self::File(file) => Ok(file.as_fd()),
            Self::Folder(folder) => Ok(folder.fd()?),
        }
    }
}

/// Open files by the number in their handle.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: HashMap<u32, Open>,
    last: u32,
}

fn unknown() -> Status {
    Status::new(Code::Failure, "there is no such handle")
}

fn number(handle: &[u8]) -> Result<u32, Status> {
    Ok(u32::from_be_bytes(handle.try_into().map_err(|_| unknown())?))
}

impl Handles {
    pub(super) fn add(&mut self, open: Open) -> Result<[u8; 4], Status> {
        if self.open.len() >= MAX_HANDLES {
            return Err(Status::new(Code::Failure, "too many files are open"));
        }
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.open.contains_key(&self.last) {
                self.open.insert(self.last, open);
                return Ok(self.last.to_be_bytes());
            }
        }
    }

    pub(super) fn close(&mut self, handle: &[u8]) -> Result<(), Status> {
        self.open.remove(&number(handle)?).map(drop).ok_or_else(unknown)
    }

    /// The descriptor behind a handle of a file or folder.
    pub(super) fn fd(&self, handle: &[u8]) -> Result<BorrowedFd<'_>, Status> {
        self.open.get(&number(handle)?).ok_or_else(unknown)?.fd()
    }

    pub(super) fn folder(&mut self, handle: &[u8]) -> Result<&mut Dir, Status> {
        match self.open.get_mut(&number(handle)?) {
            Some(Open::Folder(folder)) => Ok(folder),
            _ => Err(unknown()),
        }
    }
}

/// A file that is named or open.
#[derive(Debug)]
pub(super) enum Target<'a> {
    Path { path: &'a CStr, follow: bool },
    Fd(BorrowedFd<'a>),
}

impl Target<'_> {
    pub(super) fn truncate(&self, size: u64) -> io::Result<()> {
        match self {
            // A link has no size to change.
            Self::Path { follow: false, .. } => Err(io::Errno::INVAL),
            Self::Path { path, .. } => {
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                rustix::fs::ftruncate(rustix::fs::open(*path, flags, Mode::empty())?, size)
            }
            Self::Fd(fd) => rustix::fs::ftruncate(fd, size),
        }
    }

    pub(super) fn set_mode(&self, mode: Mode) -> io::Result<()> {
        match self {
            Self::Path {
                path,
                follow: followed,
            } => rustix::fs::chmodat(CWD, *path, mode, follow(*followed)),
            Self::Fd(fd) => rustix::fs::fchmod(fd, mode),
        }
    }

    pub(super) fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        match self {
            Self::Path {
                path,
                follow: followed,
            } => rustix::fs::utimensat(CWD, *path, times, follow(*followed)),
            Self::Fd(fd) => rustix::fs::futimens(fd, times),
        }
    }

    pub(super) fn set_owner(&self, uid: Uid, gid: Gid) -> io::Result<()> {
        match self {
            Self::Path {
                path,
                follow: followed,
            } => rustix::fs::chownat(CWD, *path, Some(uid), Some(gid), follow(*followed)),
            Self::Fd(fd) => rustix::fs::fchown(fd, Some(uid), Some(gid)),
        }
    }
}
