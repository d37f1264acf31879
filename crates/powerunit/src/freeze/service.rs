//! Takes the requests to freeze and to thaw, one standstill after another.
//!
//! The invariant: while the machine stands still, [`Root::Frozen`] keeps sessions, logins and checks from beginning; nobody but
//! who asked for the standstill ends it in order.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use guest_protocol::control::{MAX_PATIENCE_MS, Reply};
use guest_protocol::{Init, Network, Renewal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use super::Still;
use super::renewal::{self, Answer, Asked};
use crate::clock;
use crate::console::{chain, say};
use crate::machine::{Asker, Root};
use crate::ssh::Settings;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Order {
    Freeze {
        patience_ms: u64,
        /// Who is PID 1.
        init: Init,
        asker: Asker,
        reply: oneshot::Sender<Reply>,
    },
    Thaw {
        asker: Asker,
        reply: oneshot::Sender<Reply>,
    },
}

/// All that a standstill and its end have to do with.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) root: watch::Sender<Root>,
    /// The SSH server's.
    pub(crate) settings: watch::Sender<Arc<Settings>>,
    /// Takes what PID 1 must know for the next worker.
    pub(crate) renewed: mpsc::Sender<Renewal>,
    /// The machine is to end.
    pub(crate) ending: Arc<Notify>,
    /// The folder of the first root.
    pub(crate) initramfs: Arc<OwnedFd>,
    /// When PID 1 began, microseconds since the kernel's start.
    pub(crate) init_us: u64,
    /// What the interfaces have.
    pub(crate) network: Option<Network>,
}

/// How a standstill ends.
enum Over {
    Thawed(oneshot::Sender<Reply>),
    /// Whoever asked for it is gone, or the machine was restored elsewhere.
    Lost,
    Ending,
}

impl Service {
    /// Serves until nobody can ask any more.
    pub(crate) async fn run(mut self) {
        while let Some(order) = self.orders.recv().await {
            match order {
                Order::Freeze {
                    patience_ms,
                    init,
                    asker,
                    reply,
                } => {
                    let patience = Duration::from_millis(patience_ms.min(MAX_PATIENCE_MS));
                    self.stand_still(patience, init, asker, reply).await;
                }
                Order::Thaw { reply, .. } => refuse(reply, "the guest does not stand still"),
            }
        }
    }

    async fn stand_still(
        &mut self,
        patience: Duration,
        init: Init,
        asker: Asker,
        reply: oneshot::Sender<Reply>,
    ) {
        if *self.root.borrow() != Root::Up {
            return refuse(reply, "the guest has no root file system");
        }
        self.root.send_replace(Root::Frozen);
        let initramfs = Arc::clone(&self.initramfs);
        let begun = spawn_blocking(move || Still::begin(&initramfs, init)).await;
        let (still, frozen) = match begun
            .map_err(|e| chain(&e))
            .and_then(|begun| begun.map_err(|e| chain(&e)))
        {
            Ok(begun) => begun,
            Err(why) => {
                self.root.send_replace(Root::Up);
                return refuse(reply, &why);
            }
        };
        // One who does not hear it any more has gone, which is looked for next.
        let _ = reply.send(Reply::Frozen(frozen));
        let over = self.until_over(&asker).await;
        match over {
            Over::Lost => self.go_on_as_told(still, patience, init).await,
            Over::Thawed(_) | Over::Ending => drop(still),
        }
        self.root.send_replace(Root::Up);
        if let Over::Thawed(reply) = over {
            let _ = reply.send(Reply::Done);
        }
    }

    async fn until_over(&mut self, asker: &Asker) -> Over {
        loop {
            tokio::select! {
                () = asker.gone() => return Over::Lost,
                () = self.ending.notified() => return Over::Ending,
                order = self.orders.recv() => match order {
                    Some(Order::Thaw { asker: other, reply }) if other.is(asker) => return Over::Thawed(reply),
                    Some(Order::Thaw { reply, .. }) => refuse(reply, "another connection has frozen the guest"),
                    Some(Order::Freeze { reply, .. }) => refuse(reply, "the guest stands still already"),
                    None => return Over::Ending,
                },
            }
        }
    }

    /// Asks the host who this machine is by now, and lets it go on as that.
    async fn go_on_as_told(&mut self, mut still: Still, patience: Duration, init: Init) {
        let (caller, cancelled) = match renewal::cancel() {
            Ok(pair) => pair,
            Err(e) => return say(&format!("the host cannot be asked who this machine is: {e}")),
        };
        let init_us = self.init_us;
        let asking = spawn_blocking(move || renewal::ask(init_us, patience, &cancelled));
        let answer = tokio::select! {
            answer = asking => answer.map_err(|e| chain(&e)).and_then(|answer| answer.map_err(|e| chain(&e))),
            () = self.ending.notified() => {
                drop(caller);
                return;
            }
        };
        let Asked { answer, mut host } = match answer {
            Ok(asked) => asked,
            Err(why) => return say(&format!("this machine goes on as it was: {why}")),
        };
        match answer {
            Answer::Unchanged { clock_ns } => {
                if let Err(e) = clock::set(clock_ns) {
                    host.warning("clock", &e);
                }
                drop(still);
            }
            Answer::Renew(renewal) => {
                match Settings::new(&renewal.host_key, &renewal.authorized_keys) {
                    Ok(settings) => {
                        self.settings.send_modify(|present| {
                            let mut next = Settings::clone(present);
                            (next.host_key, next.keys) = (settings.host_key, settings.keys);
                            *present = Arc::new(next);
                        });
                    }
                    Err(e) => host.failed("ssh", &e),
                }
                let before = self.network.clone();
                if renewal.network.is_some() {
                    self.network.clone_from(&renewal.network);
                }
                let applied = spawn_blocking(move || {
                    let errors = renewal::apply(&renewal, before.as_ref(), || still.thaw_filesystems());
                    (renewal, still, errors)
                });
                let Ok((renewal, still, errors)) = applied.await else {
                    return;
                };
                // PID 1 may be another by now, or busy with the end.
                let _ = self.renewed.send(*renewal).await;
                drop(still);
                for (step, error) in errors {
                    host.warning(step, &*error);
                }
            }
        }
        self.root.send_replace(Root::Up);
        host.ready(init, crate::figures::memory_available_kib());
    }
}

fn refuse(reply: oneshot::Sender<Reply>, why: &str) {
    // Whoever asked may have gone.
    let _ = reply.send(Reply::Failed { message: why.into() });
}
