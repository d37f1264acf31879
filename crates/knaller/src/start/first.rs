//! The first process of a boot, which ends when all of them have.
//!
//! That is pasta or, without a network, the VMM. In a jail without a network it is not the process that was started: that is
//! the helper, which ends as soon as it has a child in the new namespaces. The child is this process's then, and the VMM.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};
use tokio::io::AsyncReadExt as _;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::Child;

use crate::readable;

/// The most bytes of a process's number and its line feed.
const NUMBER: usize = 16;

/// Dropping it leaves the process alone.
#[derive(Debug)]
pub(crate) enum First {
    /// The one that was started.
    Started(Child),
    /// The helper's child; `None` once it was waited for.
    Sibling(Option<AsyncFd<OwnedFd>>),
}

impl First {
    /// The child that a helper leaves, whose number it writes to `tells`; the helper itself if it failed.
    pub(crate) async fn left_by(mut helper: Child, mut tells: OwnedReadHalf) -> io::Result<Self> {
        if !helper.wait().await?.success() {
            return Ok(Self::Started(helper));
        }
        let mut number = [0; NUMBER];
        let length = tells.read(&mut number).await?;
        let number = number
            .get(..length)
            .and_then(|number| std::str::from_utf8(number).ok());
        let number = number.and_then(|number| number.trim_end().parse().ok());
        let pid = number.and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        // Nobody else has the number: whoever waits for the process is here.
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self::Sibling(Some(readable::watch(handle)?)))
    }

    /// Waits until it ends. May be dropped while it waits, and called once more.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Started(child) => child.wait().await,
            Self::Sibling(handle) => {
                let waited = handle.as_ref().ok_or(io::ErrorKind::NotFound)?;
                let status = reap(waited).await;
                *handle = None;
                status
            }
        }
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Self::Sibling(handle) = self
            && let Some(handle) = handle.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Where this process lives on, what ends is not to stay a zombie.
            runtime.spawn(async move { reap(&handle).await });
        }
    }
}

async fn reap(handle: &AsyncFd<OwnedFd>) -> io::Result<ExitStatus> {
    handle.readable().await?.retain_ready();
    let ended = waitid(WaitId::PidFd(handle.get_ref().as_fd()), WaitIdOptions::EXITED)?;
    let ended = ended.ok_or(io::ErrorKind::WouldBlock)?;
    Ok(ExitStatus::from_raw(raw(&ended)))
}

/// As wait(2) has it: the code in the second byte, or a signal in the first.
fn raw(ended: &WaitIdStatus) -> i32 {
    match ended.exit_status() {
        Some(code) => (code & 0xff) << 8,
        None => ended.terminating_signal().unwrap_or(0),
    }
}
