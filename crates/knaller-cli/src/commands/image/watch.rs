//! An image on its way, watched, and called off by a signal.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use knaller::{ImageEvent, ImageObserver};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::error::CommandError;
use crate::signals::Signals;
use crate::ui::transfer::{TICK, Transfer};
use crate::ui::{Steps, Ui};

/// What is done with an image.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Pull,
    Push,
    Import,
}

/// What is on the screen.
enum Stage {
    Transfer(Transfer),
    Steps(Steps),
    /// All is told that there is to tell; or nothing is to be told.
    Silent,
}

/// The voice of one deed.
pub(super) struct Watch {
    ui: Ui,
    deed: Deed,
    stage: Stage,
}

impl Watch {
    /// `what` is the image's name. With `quiet` only failures are told.
    pub(super) fn new(ui: Ui, deed: Deed, what: &str, quiet: bool) -> Self {
        let stage = match deed {
            _ if quiet => Stage::Silent,
            Deed::Pull => Stage::Transfer(Transfer::start(ui, &format!("asking for {what}"), "fetched")),
            Deed::Push => Stage::Transfer(Transfer::start(ui, &format!("preparing {what}"), "sent")),
            Deed::Import => Stage::Steps(Steps::start(ui, "importing")),
        };
        Self { ui, deed, stage }
    }

    /// Does `work` until it ends or a signal comes. `leash` is let go of with that signal, for work that waits for something
    /// else at its other end.
    pub(super) async fn run<T, E: Into<CommandError>, F: Future<Output = Result<T, E>>>(
        mut self,
        signals: &mut Signals,
        leash: Option<OwnedFd>,
        work: impl FnOnce(ImageObserver) -> F,
    ) -> Result<T, CommandError> {
        let (report, mut events) = mpsc::unbounded_channel();
        let mut work = Box::pin(work(Arc::new(move |event| {
            // Nobody watches any more: the work is being called off.
            let _ = report.send(event);
        })));
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let done = loop {
            tokio::select! {
                biased;
                signal = signals.next() => {
                    self.stage = Stage::Silent;
                    drop(leash);
                    drop(work);
                    self.called_off();
                    return Err(CommandError::Ended(signal));
                }
                Some(event) = events.recv() => self.event(&event),
                done = &mut work => break done,
                _ = ticks.tick() => self.tick(),
            }
        };
        while let Ok(event) = events.try_recv() {
            self.event(&event);
        }
        if let (Ok(_), Stage::Steps(steps)) = (&done, self.stage) {
            steps.finish();
        }
        done.map_err(Into::into)
    }

    fn event(&mut self, event: &ImageEvent) {
        match (&mut self.stage, event) {
            (Stage::Transfer(transfer), ImageEvent::Transfer(event)) => {
                let over = transfer.event(event);
                if !over {
                    return;
                }
                // What was drawn goes before anything else is.
                self.stage = Stage::Silent;
                self.stage = match self.deed {
                    Deed::Push => Stage::Transfer(Transfer::start(self.ui, "entering the name", "sent")),
                    _ => Stage::Steps(Steps::start(self.ui, "making the root file system")),
                };
            }
            (Stage::Transfer(transfer), ImageEvent::Work(step)) => transfer.meanwhile(step.step),
            (Stage::Steps(steps), ImageEvent::Work(step)) => steps.note(*step),
            _ => {}
        }
    }

    fn tick(&mut self) {
        if let Stage::Transfer(transfer) = &mut self.stage {
            transfer.tick();
        }
    }

    fn called_off(&self) {
        self.ui.note(match self.deed {
            Deed::Pull => {
                "interrupted: what has come is kept for a day, and the next pull goes on from there"
            }
            Deed::Push => "interrupted: what the registry has by now it need not be sent again",
            Deed::Import => "interrupted: nothing is imported",
        });
    }
}
