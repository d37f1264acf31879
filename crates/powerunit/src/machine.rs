//! What the SSH server knows of the machine it runs on, and what it may ask of PID 1.
//!
//! The invariant: PID 1 owns the state and sends it; this side only ever sees a value that was true when it was sent.
//! A session must await [`Handle::root`] before it touches a file of the image, since connections are accepted
//! while `/` is still the initramfs.

use guest_protocol::control::{Reply, Request};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

/// How far the machine's root file system is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// `/` is still the initramfs.
    #[default]
    Pending,
    /// `/` is the image's, with everything mounted.
    Up,
    /// There will be no root: why. `/` stays the initramfs, in which nothing can be run.
    Failed(String),
}

/// A request on its way to PID 1.
#[derive(Debug)]
pub struct Call {
    pub request: Request,
    pub reply: oneshot::Sender<Reply>,
}

/// A view of the machine, cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    root: watch::Receiver<Root>,
    calls: mpsc::Sender<Call>,
}

impl Handle {
    /// A handle that sees the values sent to `root`, and whose requests arrive at `calls`.
    #[must_use]
    pub fn new(root: watch::Receiver<Root>, calls: mpsc::Sender<Call>) -> Self {
        Self { root, calls }
    }

    /// Waits until the root file system is up. The error is the reason why it never will be, for the user to read.
    pub async fn root(&self) -> Result<(), String> {
        let mut root = self.root.clone();
        let settled = root.wait_for(|root| *root != Root::Pending).await;
        match settled.as_deref() {
            Ok(Root::Up) => Ok(()),
            Ok(Root::Failed(why)) => Err(why.clone()),
            Ok(Root::Pending) | Err(_) => Err("the guest is shutting down".into()),
        }
    }

    /// Answers one request of the control subsystem. The caller has made sure that root asks.
    pub async fn answer(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        let lost = || Reply::Failed {
            message: "the guest's init does not answer".into(),
        };
        if self.calls.send(Call { request, reply }).await.is_err() {
            return lost();
        }
        answer.await.unwrap_or_else(|_| lost())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_waits_for_the_root_and_learns_why_there_is_none() {
        let (state, root) = watch::channel(Root::Pending);
        let (calls, _requests) = mpsc::channel(1);
        let handle = Handle::new(root, calls);
        let waiting = tokio::spawn({
            let handle = handle.clone();
            async move { handle.root().await }
        });
        state.send(Root::Up).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(()));
        state.send(Root::Failed("no disk vda".into())).unwrap();
        assert_eq!(handle.root().await, Err("no disk vda".into()));
    }

    #[tokio::test]
    async fn a_request_nobody_takes_is_answered_all_the_same() {
        let (_state, root) = watch::channel(Root::Up);
        let (calls, requests) = mpsc::channel(1);
        drop(requests);
        let reply = Handle::new(root, calls).answer(Request::Status).await;
        assert!(matches!(reply, Reply::Failed { .. }));
    }
}
