//! Blobs on their way between a registry and this machine, shown to who waits.
//!
//! At a terminal one line for each layer moves in place, and one line tells what it came to; anywhere else each layer is
//! told of when it has come. What went wrong and is tried again is told in both cases.

mod block;
mod layers;
mod rate;

use std::time::{Duration, Instant};

use images::registry::Event;

use self::block::Room;
use self::layers::{Layers, Told};
use super::{Progress, Ui};

/// How often what is drawn in place is drawn anew.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// One image on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    ui: Ui,
    progress: Progress,
    layers: Layers,
    /// What is done with them: `fetched`, `sent`.
    past: &'static str,
}

impl Transfer {
    /// `doing` is shown until it is known what there is to move; `past` says what has been done with it.
    pub(crate) fn start(ui: Ui, doing: &str, past: &'static str) -> Self {
        Self {
            ui,
            progress: Progress::start(ui, doing),
            layers: Layers::default(),
            past,
        }
    }

    /// Something has happened. Says whether all blobs have come to their end by it.
    pub(crate) fn event(&mut self, event: &Event) -> bool {
        let (now, was_over) = (Instant::now(), self.layers.over());
        match self.layers.take(event, now) {
            Some(Told::Plan(plan)) if self.ui.live() => {
                self.progress.doing(&plan);
                // What moves quickly is seen, too.
                self.tick();
            }
            Some(Told::End(_)) if self.ui.live() => {}
            Some(Told::Plan(text) | Told::End(text)) => self.progress.line(&text),
            Some(Told::Trouble(text)) => self.progress.warning(&text),
            None => {}
        }
        if was_over || !self.layers.over() {
            return false;
        }
        let took = self.layers.began().map_or(Duration::ZERO, |began| now - began);
        self.progress.done(&self.layers.summary(self.past), took);
        true
    }

    /// What else is being done, which is of interest while nothing moves yet.
    pub(crate) fn meanwhile(&self, doing: &str) {
        if self.layers.began().is_none() {
            self.progress.doing(doing);
        }
    }

    /// Draws what is drawn in place.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        self.layers.tick(now);
        if let Some((columns, rows)) = self.ui.room().filter(|_| self.layers.began().is_some()) {
            // The cursor's own place stays free, and a line beneath.
            let room = Room {
                columns: usize::from(columns).saturating_sub(1),
                rows: usize::from(rows).saturating_sub(1),
            };
            self.progress.block(&block::lines(&self.layers, room, now));
        }
    }
}

#[cfg(test)]
mod tests;
