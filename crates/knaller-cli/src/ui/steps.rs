//! The steps of a piece of work on this machine, with their times.

use std::time::Instant;

use images::Progress as Step;

use super::{Progress, Ui};

/// What a watcher of the work has heard so far.
#[derive(Debug)]
pub(crate) struct Steps {
    progress: Progress,
    current: Option<(&'static str, Instant)>,
}

impl Steps {
    /// `doing` is shown until the first step is known.
    pub(crate) fn start(ui: Ui, doing: &str) -> Self {
        Self {
            progress: Progress::start(ui, doing),
            current: None,
        }
    }

    /// The work is there now.
    pub(crate) fn note(&mut self, now: Step) {
        if self.current.is_none_or(|(step, _)| step != now.step) {
            self.end_step();
            self.current = Some((now.step, Instant::now()));
        }
        match now.total.filter(|total| *total > 0) {
            Some(total) => {
                let share = u128::from(now.done.min(total)) * 100 / u128::from(total);
                self.progress.doing(&format!("{} {share} %", now.step));
            }
            None => self.progress.doing(now.step),
        }
    }

    /// The work has come to a good end.
    pub(crate) fn finish(mut self) {
        self.end_step();
    }

    fn end_step(&mut self) {
        if let Some((step, since)) = self.current.take() {
            self.progress.done(step, since.elapsed());
        }
    }
}
