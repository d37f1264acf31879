//! The line to a helper that is to make a jail: its standard input. It tells on it which child it leaves, if it leaves one, and
//! waits behind it for the plan of its jail. A helper whose starter ends gets none, and ends.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::helper::MAX_AT_ONCE;
use crate::jail::Plan;
use crate::{Error, Result};

/// Where a helper waits for its plan.
#[derive(Debug)]
pub(crate) struct Gate(OwnedWriteHalf);

impl Gate {
    /// Lets the program come up, in this jail, with the mounts that it hands over. That the helper has ended is for others to
    /// find, who know more of it.
    pub(crate) async fn open(mut self, plan: &Plan, handed: &[OwnedFd]) -> Result<()> {
        let plan = serde_json::to_vec(plan).map_err(|e| Error::system("write a jail's plan")(e.into()))?;
        let mut rest = plan.as_slice();
        for some in handed.chunks(MAX_AT_ONCE) {
            // They need a byte to come with.
            let Some((one, others)) = rest.split_first() else {
                break;
            };
            if self.send(*one, some).await.is_err() {
                return Ok(());
            }
            rest = others;
        }
        let _ = self.0.write_all(rest).await;
        Ok(())
    }

    async fn send(&self, byte: u8, files: &[OwnedFd]) -> io::Result<()> {
        let files: Vec<BorrowedFd<'_>> = files.iter().map(OwnedFd::as_fd).collect();
        let socket = self.0.as_ref();
        let send = || {
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_AT_ONCE))];
            let mut aside = SendAncillaryBuffer::new(&mut room);
            aside.push(SendAncillaryMessage::ScmRights(&files));
            let sent = sendmsg(socket, &[IoSlice::new(&[byte])], &mut aside, SendFlags::NOSIGNAL);
            Ok(sent.map(drop)?)
        };
        socket.async_io(Interest::WRITABLE, send).await
    }
}

/// The helper's standard input; what the helper tells; and the gate.
pub(crate) fn line() -> Result<(OwnedFd, OwnedReadHalf, Gate)> {
    let make = || -> io::Result<_> {
        let (own, helpers) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let (tells, plan) = tokio::net::UnixStream::from_std(own)?.into_split();
        Ok((helpers.into(), tells, Gate(plan)))
    };
    make().map_err(Error::system("make a line to a helper"))
}
