//! What is going on while somebody waits.
//!
//! At a terminal one line turns in place and each finished phase leaves a line with its time; anywhere else only the
//! finished phases are written, plainly. All of it goes to standard error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::style::{DIM, GOOD, paint};
use super::{Ui, human, plain, warning};
use crate::error::CommandError;
use crate::terminal::Hidden;

/// Redraws ten times a second: enough to look alive.
const TICK: Duration = Duration::from_millis(100);

/// One wait. Dropped, it leaves no half-drawn line.
#[derive(Debug)]
pub(crate) struct Progress {
    ui: Ui,
    bar: Option<ProgressBar>,
    /// Put back when nothing is drawn any more.
    _hidden: Option<Hidden>,
}

impl Progress {
    pub(crate) fn start(ui: Ui, doing: &str) -> Self {
        let bar = ui.live().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        let _hidden = bar.as_ref().and_then(|_| Hidden::controls());
        let progress = Self { ui, bar, _hidden };
        progress.doing(doing);
        progress
    }

    /// Only the finished phases, whatever standard error is.
    pub(crate) fn plain(ui: Ui) -> Self {
        Self {
            ui,
            bar: None,
            _hidden: None,
        }
    }

    /// Says what is being done now.
    pub(crate) fn doing(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Draws lines in place of the one that turns.
    pub(crate) fn block(&self, lines: &[String]) {
        let Some(bar) = &self.bar else { return };
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.disable_steady_tick();
            bar.set_style(style);
        }
        let text = lines.join("\n");
        bar.set_message(if self.ui.colours_errors() {
            text
        } else {
            anstream::adapter::strip_str(&text).to_string()
        });
    }

    /// Says that a phase ended, and how long it took.
    pub(crate) fn done(&self, what: &str, took: Duration) {
        let took = paint(DIM, format_args!("{:>8}", human::span(took)));
        self.line(&format!("{} {took}  {what}", paint(GOOD, "✓")));
    }

    pub(crate) fn warning(&self, text: &str) {
        self.line(&warning(plain(text)));
    }

    /// Tells of a failure, and gives the exit code for it.
    pub(crate) fn error(&self, error: &CommandError) -> u8 {
        self.aside(|ui| ui.error(error))
    }

    /// Writes a line.
    pub(crate) fn line(&self, text: &str) {
        self.aside(|ui| ui.note(text));
    }

    /// Lets `say` write without breaking the line that turns.
    fn aside<T>(&self, say: impl FnOnce(Ui) -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(self.ui)),
            None => say(self.ui),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
