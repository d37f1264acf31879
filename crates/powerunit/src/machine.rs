//! What the SSH server knows of the machine it runs on, and what it may ask of PID 1.
//!
//! The invariant: PID 1 owns the state and sends it; this side only ever sees a value that was true when it was sent.
//! A session must await [`Handle::root`] before it touches a file of the image, since connections are accepted
//! while `/` is still the initramfs, and last while the machine stands still.

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
    /// It is, and stands still for a snapshot: nothing new may begin.
    Frozen,
    /// There will be no root: why. `/` stays the initramfs, in which nothing can be run.
    Failed(String),
}

/// A request on its way to PID 1.
#[derive(Debug)]
pub struct Call {
    pub request: Request,
    pub asker: Asker,
    pub reply: oneshot::Sender<Reply>,
}

/// One who asks, for as long as there is a way to answer: a channel of a connection.
#[derive(Debug)]
pub struct Caller {
    machine: Handle,
    /// Dropped with this value, which is how an [`Asker`] learns of it.
    present: watch::Sender<()>,
}

/// What is known of a [`Caller`].
#[derive(Clone, Debug)]
pub struct Asker(watch::Receiver<()>);

impl Asker {
    /// Waits until the caller is gone.
    pub async fn gone(&self) {
        let mut present = self.0.clone();
        while present.changed().await.is_ok() {}
    }

    /// Whether both are the same caller.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
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

    /// Waits until the root file system is up, and does not stand still. The error is the reason why it never will be,
    /// for the user to read.
    pub async fn root(&self) -> Result<(), String> {
        let mut root = self.root.clone();
        let settled = root
            .wait_for(|root| !matches!(root, Root::Pending | Root::Frozen))
            .await;
        match settled.as_deref() {
            Ok(Root::Up) => Ok(()),
            Ok(Root::Failed(why)) => Err(why.clone()),
            Ok(Root::Pending | Root::Frozen) | Err(_) => Err("the guest is shutting down".into()),
        }
    }

    /// Waits while the machine stands still.
    pub async fn moving(&self) {
        let mut root = self.root.clone();
        // Whoever cannot be told any more will not be kept either.
        let _ = root.wait_for(|root| *root != Root::Frozen).await;
    }

    /// Somebody who has requests.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            machine: self.clone(),
            present: watch::Sender::new(()),
        }
    }
}

impl Caller {
    /// Answers one request of the control subsystem. The caller has made sure that root asks.
    pub async fn answer(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        let lost = || Reply::Failed {
            message: "the guest's init does not answer".into(),
        };
        let asker = Asker(self.present.subscribe());
        let call = Call {
            request,
            asker,
            reply,
        };
        if self.machine.calls.send(call).await.is_err() {
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
        let reply = Handle::new(root, calls).caller().answer(Request::Status).await;
        assert!(matches!(reply, Reply::Failed { .. }));
    }

    #[tokio::test]
    async fn a_machine_that_stands_still_lets_nothing_begin() {
        let (state, root) = watch::channel(Root::Frozen);
        let (calls, _requests) = mpsc::channel(1);
        let handle = Handle::new(root, calls);
        let waiting = tokio::spawn({
            let handle = handle.clone();
            async move {
                handle.moving().await;
                handle.root().await
            }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        state.send(Root::Up).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn whoever_asked_is_known_again_and_missed() {
        let (_state, root) = watch::channel(Root::Up);
        let (calls, mut requests) = mpsc::channel(2);
        let handle = Handle::new(root, calls);
        let asks = || {
            let caller = handle.caller();
            tokio::spawn(async move { caller.answer(Request::Status).await })
        };
        let (first, _second) = (asks(), asks());
        let (one, other) = (requests.recv().await.unwrap(), requests.recv().await.unwrap());
        assert!(one.asker.is(&one.asker.clone()) && !one.asker.is(&other.asker));
        one.reply.send(Reply::Done).unwrap();
        first.await.unwrap();
        one.asker.gone().await;
    }
}
