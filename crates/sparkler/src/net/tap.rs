//! The host's end of an interface: a TAP that gives and takes whole frames.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, read, writev};

use super::frames::MAX_FRAME;

/// The longest header before a frame (`virtio_net_hdr_v1`).
pub(super) const MAX_HEADER: usize = 12;
const NO_HEADER: [u8; MAX_HEADER] = [0; MAX_HEADER];

/// A TAP, or what behaves like one in a test: each read and each write is one frame with its header.
#[derive(Debug)]
pub(super) struct Tap {
    fd: OwnedFd,
    header: usize,
}

/// What came of moving a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// The frame is through; its bytes, header not counted.
    Frame(usize),
    /// Not now.
    Later,
    /// Not this frame: the TAP is down or the frame makes no sense to it.
    Dropped,
    /// Never again: the TAP is gone.
    Gone,
}

impl Tap {
    /// `header`: bytes of virtio-net header before each frame, 0 or [`MAX_HEADER`].
    pub(super) fn new(fd: OwnedFd, header: usize) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        if header > 0 {
            // Whoever had the TAP before may have allowed frames without checksums and ones of 64 KiB: QEMU's stream
            // knows neither.
            // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
            if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self {
            fd,
            header: header.min(MAX_HEADER),
        })
    }

    /// Reads a frame to the start of `buffer`, its header left out.
    pub(super) fn read(&self, buffer: &mut [u8; MAX_HEADER + MAX_FRAME]) -> Moved {
        loop {
            return match read(&self.fd, &mut buffer[..]) {
                Ok(count) if count >= self.header && count > 0 => {
                    buffer.copy_within(self.header..count, 0);
                    Moved::Frame(count - self.header)
                }
                Ok(0) => Moved::Gone,
                Ok(_) => Moved::Dropped,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Moved::Later,
                Err(_) => Moved::Gone,
            };
        }
    }

    /// Writes a frame behind an empty header.
    pub(super) fn write(&self, frame: &[u8]) -> Moved {
        loop {
            return match writev(
                &self.fd,
                &[IoSlice::new(&NO_HEADER[..self.header]), IoSlice::new(frame)],
            ) {
                Ok(_) => Moved::Frame(frame.len()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Moved::Later,
                Err(Errno::BADFD | Errno::PIPE | Errno::CONNRESET) => Moved::Gone,
                Err(_) => Moved::Dropped,
            };
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
