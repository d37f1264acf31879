//! A userfaultfd of another process (ioctl_userfaultfd(2), linux/userfaultfd.h).

use std::ffi::c_int;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, readlink};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// What is served at a time at least, in bytes.
pub(super) const PAGE: u64 = 4096;

/// `UFFDIO`.
const GROUP: u8 = 0xaa;

const UNREGISTER: Opcode = opcode::read::<UffdRange>(GROUP, 1);
const WAKE: Opcode = opcode::read::<UffdRange>(GROUP, 2);
const COPY: Opcode = opcode::read_write::<UffdCopy>(GROUP, 3);
const ZEROPAGE: Opcode = opcode::read_write::<UffdZero>(GROUP, 4);

/// `UFFD_EVENT_PAGEFAULT` and `UFFD_EVENT_REMOVE`.
const FAULT: u8 = 0x12;
const REMOVE: u8 = 0x15;

/// The size of `struct uffd_msg`, and how many are read at once.
const MESSAGE: usize = 32;
const AT_ONCE: usize = 32;

#[repr(C)]
struct UffdRange {
    start: u64,
    len: u64,
}

#[repr(C)]
struct UffdCopy {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

#[repr(C)]
struct UffdZero {
    range: UffdRange,
    mode: u64,
    zeroed: i64,
}

/// What happened to the memory. Addresses of the other process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody waits for the page of this address.
    Fault(u64),
    /// Its owner has given these bytes up, and waits until that is heard.
    Removed(Range<u64>),
}

/// How far something came, in bytes, and why no further.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) after: u64,
    pub(super) why: Errno,
}

#[derive(Debug)]
pub(super) struct Uffd(OwnedFd);

impl Uffd {
    /// Makes sure that this is one, whoever sent it, and that nobody waits on it.
    pub(super) fn check(fd: OwnedFd) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        if readlink(path, Vec::new())?.as_bytes() != b"anon_inode:[userfaultfd]" {
            return Err(io::Error::other("what the VMM sent is no userfaultfd"));
        }
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self(fd))
    }

    /// Some of what has happened; nothing if that was all.
    pub(super) fn events(&self) -> io::Result<Vec<Event>> {
        let mut bytes = [0; MESSAGE * AT_ONCE];
        match rustix::io::read(&self.0, &mut bytes) {
            Ok(length) => Ok(bytes.get(..length).map(events).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts bytes, whole pages, where there are none yet, and wakes whoever waits for them.
    pub(super) fn copy(&self, to: u64, bytes: &[u8]) -> Result<(), Stopped> {
        let mut copy = UffdCopy {
            dst: to,
            src: bytes.as_ptr() as u64,
            len: bytes.len() as u64,
            mode: 0,
            copied: 0,
        };
        // SAFETY: the structure is UFFDIO_COPY's; the kernel reads `len` bytes at `src`, which `bytes` are, and writes to the
        // memory of another process alone.
        let done = unsafe { ioctl(self, Updater::<COPY, _>::new(&mut copy)) };
        outcome(done, copy.copied)
    }

    /// The same with zeros.
    pub(super) fn zero(&self, to: u64, length: u64) -> Result<(), Stopped> {
        let mut zero = UffdZero {
            range: UffdRange {
                start: to,
                len: length,
            },
            mode: 0,
            zeroed: 0,
        };
        // SAFETY: the structure is UFFDIO_ZEROPAGE's; no memory of this process is touched.
        let done = unsafe { ioctl(self, Updater::<ZEROPAGE, _>::new(&mut zero)) };
        outcome(done, zero.zeroed)
    }

    /// Has whoever waits for one of these bytes look again.
    pub(super) fn wake(&self, start: u64, length: u64) -> io::Result<()> {
        let mut range = UffdRange { start, len: length };
        // SAFETY: the structure is UFFDIO_WAKE's; no memory of this process is touched.
        unsafe { ioctl(self, Updater::<WAKE, _>::new(&mut range)) }.map_err(Into::into)
    }

    /// From now on these bytes are zeros where nothing was put, and nobody hears of them any more.
    pub(super) fn unregister(&self, start: u64, length: u64) -> io::Result<()> {
        let mut range = UffdRange { start, len: length };
        // SAFETY: the structure is UFFDIO_UNREGISTER's; no memory of this process is touched.
        unsafe { ioctl(self, Updater::<UNREGISTER, _>::new(&mut range)) }.map_err(Into::into)
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn outcome(done: rustix::io::Result<()>, count: i64) -> Result<(), Stopped> {
    done.map_err(|why| Stopped {
        // A negative one is an error again.
        after: u64::try_from(count).unwrap_or(0),
        why: match c_int::try_from(-count) {
            Ok(number) if number > 0 => Errno::from_raw_os_error(number),
            _ => why,
        },
    })
}

/// `struct uffd_msg`: the kind, and from byte 8 on what belongs to it. Other kinds were never asked for.
fn events(bytes: &[u8]) -> Vec<Event> {
    let number = |message: &[u8], at: usize| -> Option<u64> {
        Some(u64::from_ne_bytes(message.get(at..at + 8)?.try_into().ok()?))
    };
    let one = |message: &[u8]| match *message.first()? {
        FAULT => Some(Event::Fault(number(message, 16)?)),
        REMOVE => Some(Event::Removed(number(message, 8)?..number(message, 16)?)),
        _ => None,
    };
    bytes.chunks_exact(MESSAGE).filter_map(one).collect()
}
