//! The line to a helper that is to make a jail: its standard input. It tells on it which child it leaves, if it leaves one, and
//! waits behind it for the plan of its jail. A helper whose starter ends gets none, and ends.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::jail::Plan;
use crate::{Error, Result};

/// Where a helper waits for its plan.
#[derive(Debug)]
pub(crate) struct Gate(OwnedWriteHalf);

impl Gate {
    /// Lets the program come up, in this jail. That the helper has ended is for others to find, who know more of it.
    pub(crate) async fn open(mut self, plan: &Plan) -> Result<()> {
        let plan = serde_json::to_vec(plan).map_err(|e| Error::system("write a jail's plan")(e.into()))?;
        let _ = self.0.write_all(&plan).await;
        Ok(())
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
