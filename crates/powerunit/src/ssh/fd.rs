//! Reading and writing descriptors that are ready at times: sockets, pipes, terminals.
//!
//! Both directions go through a shared reference and every operation may be dropped while it waits, without loss.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A non-blocking descriptor, watched by the runtime.
#[derive(Debug)]
pub(super) struct Fd(AsyncFd<OwnedFd>);

impl Fd {
    /// Makes `fd` non-blocking and watches it. Must be called inside a runtime.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        // SAFETY: an `OwnedFd` keeps its descriptor open, and the same, until it is dropped with the `AsyncFd`.
        let watched = unsafe { AsyncFd::register(fd) };
        watched.map(Self).map_err(io::Error::from)
    }

    /// Runs `read` whenever the descriptor is readable or broken, until it has something other than "not now" to say.
    pub(super) async fn read_with<T>(
        &self,
        mut read: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        // A vsock connection that a restore has reset shows an error and nothing else (virtio_vsock_reset_sock()).
        self.0
            .async_io(Interest::READABLE | Interest::ERROR, |fd| {
                retry(|| read(fd.as_fd()))
            })
            .await
    }

    /// Writes some bytes.
    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .async_io(Interest::WRITABLE, |fd| retry(|| rustix::io::write(fd, bytes)))
            .await
    }

    /// Writes all bytes, or fails somewhere among them.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Of a socket: no more will be written. Of another descriptor: nothing happens.
    pub(super) fn finish(&self) {
        // A socket that is already gone needs no farewell.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}
