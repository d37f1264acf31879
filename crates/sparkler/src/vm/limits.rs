//! Limits put on a network interface while its guest runs.
//!
//! Invariant: each direction of an interface without a pump has at most one redirector, made when it is first limited
//! and kept from then on; later changes only change its limit.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use firecracker_api::models::RateLimiter;
use serde_json::json;

use super::running::Running;
use crate::net::Shaper;
use crate::qemu::qmp::QmpError;
use crate::qemu::qmp::command::{ChardevAdd, GetFd, ObjectAdd};

/// A direction, seen from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What the guest receives.
    Rx,
    /// What the guest sends.
    Tx,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Tx => "tx",
        }
    }

    /// QEMU's name, seen from the TAP: what the guest sends the TAP receives.
    fn queue(self) -> &'static str {
        match self {
            Self::Rx => "tx",
            Self::Tx => "rx",
        }
    }
}

/// Why a limit could not be put on an interface.
#[derive(Debug, thiserror::Error)]
pub(super) enum LimitError {
    /// A socket or thread is missing.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// QEMU did not take it.
    #[error(transparent)]
    Qemu(#[from] QmpError),
}

impl Running {
    /// Limits one direction of the interface at this place, or changes its limit.
    pub(super) async fn limit_net(
        &mut self,
        index: usize,
        direction: Direction,
        limiter: &RateLimiter,
    ) -> Result<(), LimitError> {
        if let Some(shaper) = self.shapers.get(&(index, direction)) {
            shaper.update(*limiter);
            return Ok(());
        }
        if limiter.in_force().is_none() {
            return Ok(());
        }
        let name = format!("net{index}-{}", direction.name());
        let (from, theirs) = UnixStream::pair()?;
        self.add_socket(&format!("{name}-out"), &theirs).await?;
        let (to, theirs) = UnixStream::pair()?;
        self.add_socket(&format!("{name}-in"), &theirs).await?;
        let shaper = Shaper::start(from, to, limiter)?;
        let redirector = json!({
            "qom-type": "filter-redirector",
            "id": name,
            "netdev": format!("link{index}"),
            "queue": direction.queue(),
            "outdev": format!("{name}-out"),
            "indev": format!("{name}-in"),
            "vnet_hdr_support": true,
        });
        self.qmp.execute(&ObjectAdd(redirector)).await?;
        self.shapers.insert((index, direction), shaper);
        Ok(())
    }

    async fn add_socket(&mut self, name: &str, socket: &UnixStream) -> Result<(), QmpError> {
        let fdname = GetFd {
            fdname: name.to_owned(),
        };
        self.qmp.execute_with_fd(&fdname, socket.as_fd()).await?;
        let address = json!({ "type": "fd", "data": { "str": name } });
        let backend = json!({ "type": "socket", "data": { "addr": address, "server": false } });
        self.qmp
            .execute(&ChardevAdd {
                id: name.to_owned(),
                backend,
            })
            .await
            .map(drop)
    }
}
