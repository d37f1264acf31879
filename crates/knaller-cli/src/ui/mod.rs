//! All that the command says leaves through here: the only module that writes to the standard streams.
//!
//! Results go to standard output; progress, notes and errors to standard error, so that a pipe carries results
//! alone. Styles are written always and taken out at the stream where colour is off (`--color`, `NO_COLOR`,
//! `CLICOLOR`, no terminal).

mod format;
pub(crate) mod human;
mod progress;
mod steps;
pub(crate) mod style;
pub(crate) mod table;
mod timeline;
pub(crate) mod transfer;
mod wrap;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd;

use anstream::AutoStream;

pub(crate) use format::{Format, Inspected, Listed, OutputArgs, ReportArgs};
#[cfg(test)]
pub(crate) use format::{inspection, list};
pub(crate) use progress::Progress;
pub(crate) use steps::Steps;
pub(crate) use timeline::{Timeline, label};

/// The command's voice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    /// Whether a person reads standard error at a terminal that can move its cursor.
    live: bool,
    width: Option<u16>,
    note_width: Option<u16>,
}

impl Ui {
    /// Colour is settled for the whole process here.
    pub(crate) fn new(color: clap::ColorChoice) -> Self {
        match color {
            clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
            clap::ColorChoice::Always => anstream::ColorChoice::Always,
            clap::ColorChoice::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            live: io::stderr().is_terminal() && !dumb,
            width: width(io::stdout()),
            note_width: width(io::stderr()),
        }
    }

    /// Whether progress may be redrawn in place.
    pub(crate) fn live(self) -> bool {
        self.live
    }

    /// Whether what goes to standard error may be coloured: for those who write there themselves.
    pub(crate) fn colours_errors(self) -> bool {
        AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
    }

    /// The columns of the terminal that standard output is; `None` for a file or a pipe.
    pub(crate) fn width(self) -> Option<u16> {
        self.width
    }

    /// As [`Self::width`], of standard error, where notes go.
    pub(crate) fn note_width(self) -> Option<u16> {
        self.note_width
    }

    /// Columns and rows for what is drawn in place; `None` where nothing can be. Asked each time: a window changes. A terminal
    /// that does not know its size (a serial line, a bare pty) is taken for the usual one.
    pub(crate) fn room(self) -> Option<(u16, u16)> {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
        let or = |known: u16, usual: u16| if known > 0 { known } else { usual };
        self.live.then_some((or(size.ws_col, 80), or(size.ws_row, 24)))
    }

    /// Writes a line, or several, of the result.
    pub(crate) fn print(self, text: &str) -> io::Result<()> {
        let mut stdout = AutoStream::auto(io::stdout().lock());
        writeln!(stdout, "{text}")?;
        stdout.flush()
    }

    /// Writes bytes of the result as they are, for what is not ours to style.
    pub(crate) fn write(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// As [`Self::write`], to standard error.
    pub(crate) fn write_error(self, bytes: &[u8]) -> io::Result<()> {
        io::stderr().lock().write_all(bytes)
    }

    /// Tells the person something that is no result. Nobody left to tell is no failure.
    pub(crate) fn note(self, text: impl Display) {
        let text = text.to_string();
        let text = match self.note_width {
            Some(width) => wrap::wrap(&text, width),
            None => text,
        };
        let mut stderr = AutoStream::auto(io::stderr().lock());
        let _ = writeln!(stderr, "{text}");
    }

    /// Asks for something, and leaves the cursor behind the question.
    pub(crate) fn prompt(self, question: &str) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question}")?;
        stderr.flush()
    }

    pub(crate) fn warning(self, text: impl Display) {
        self.note(warning(text));
    }
}

/// The line of a warning.
pub(crate) fn warning(text: impl Display) -> String {
    format!("{} {text}", style::paint(style::WARNING, "warning:"))
}

/// `text` of unknown origin without what could steer a terminal: a guest writes its console as it likes.
pub(crate) fn plain(text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// The columns of the terminal that `stream` is.
fn width(stream: impl AsFd + IsTerminal) -> Option<u16> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}
