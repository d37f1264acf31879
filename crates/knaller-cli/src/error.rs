//! What a person reads when something went wrong.
//!
//! ```text
//! error: SSH did not answer within 60.0 s
//!   the end of the guest's console:
//!   | Run /init as init process
//! hint: `knaller doctor` checks what a start needs and names the remedy
//! ```
//!
//! What happened comes first, then what led to it, then what to do. The class of the failure is the exit code.

use std::error::Error as _;
use std::io;

use knaller::Class;

use crate::signals::Signal;
use crate::ui::style::{ERROR, HINT, paint};
use crate::ui::{Ui, plain};

/// Lines of a log that are worth showing: the last ones.
const EXCERPT_LINES: usize = 20;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Whoever read our output has had enough.
    BrokenPipe,
    /// A signal asked us to end, and we did.
    Ended(Signal),
    Failed(Box<Failure>),
}

/// Something went wrong.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    class: Class,
    message: String,
    causes: Vec<String>,
    /// What it is, and its last lines.
    excerpt: Option<(String, String)>,
    hints: Vec<String>,
}

impl CommandError {
    fn new(class: Class, message: String) -> Self {
        let failure = Failure {
            class,
            message,
            causes: Vec::new(),
            excerpt: None,
            hints: Vec::new(),
        };
        Self::Failed(Box::new(failure))
    }

    /// What was asked for makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Class::Usage, message.into())
    }

    /// The host did not let us, or its disk is full.
    pub(crate) fn host(message: impl Into<String>, cause: &(dyn std::error::Error + 'static)) -> Self {
        let class = if images::is_full_disk(cause) {
            Class::Resources
        } else {
            Class::Host
        };
        let mut error = Self::new(class, message.into());
        if let Self::Failed(failure) = &mut error {
            failure.causes = chain(Some(cause));
        }
        error
    }

    /// Not done, for a reason of ours.
    pub(crate) fn refused(class: Class, message: impl Into<String>) -> Self {
        Self::new(class, message.into())
    }

    /// What another library says, with what led to it.
    pub(crate) fn of(class: Class, error: &dyn std::error::Error) -> Self {
        let mut told = Self::new(class, error.to_string());
        if let Self::Failed(failure) = &mut told {
            failure.causes = chain(error.source());
        }
        told
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.hints.push(hint.into());
        }
        self
    }

    /// Names what it is about, where the text does not.
    pub(crate) fn about(self, what: &str) -> Self {
        match &self {
            Self::Failed(failure) if !failure.message.contains(what) => self.within(what),
            _ => self,
        }
    }

    /// Says what could not be done because of it.
    pub(crate) fn within(mut self, what: &str) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.message = format!("{what}: {}", failure.message);
        }
        self
    }

    /// What happened and what led to it, in one line: for programs.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::BrokenPipe => "whoever read the output went away".to_owned(),
            Self::Ended(signal) => format!("ended by signal {signal:?}"),
            Self::Failed(failure) => {
                let all = std::iter::once(&failure.message).chain(&failure.causes);
                plain(&all.map(String::as_str).collect::<Vec<_>>().join(": "))
            }
        }
    }

    /// The code that the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Ended(signal) => signal.exit_code(),
            Self::Failed(failure) => failure.class.code(),
        }
    }
}

impl From<knaller::Error> for CommandError {
    fn from(error: knaller::Error) -> Self {
        Self::Failed(Box::new(Failure {
            class: error.class(),
            message: error.headline(),
            causes: chain(error.source()),
            excerpt: error
                .excerpt()
                .map(|(what, text)| (what.to_owned(), text.to_owned())),
            hints: error.hint().into_iter().collect(),
        }))
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::host("cannot read or write the standard streams", &error),
        }
    }
}

fn chain(mut cause: Option<&dyn std::error::Error>) -> Vec<String> {
    let mut causes = Vec::new();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes
}

impl Failure {
    /// The lines, with styles. What foreign programs wrote is shown without its control characters.
    fn render(&self) -> String {
        let mut text = format!("{} {}", paint(ERROR, "error:"), plain(&self.message));
        for cause in &self.causes {
            text.push_str(&format!("\n  because: {}", plain(cause)));
        }
        if let Some((what, lines)) = &self.excerpt {
            let lines = last_lines(lines);
            if !lines.is_empty() {
                text.push_str(&format!("\n  the end of {what}:"));
            }
            for line in lines {
                text.push_str(&format!("\n  | {}", plain(line)));
            }
        }
        for hint in &self.hints {
            text.push_str(&format!("\n{} {hint}", paint(HINT, "hint:")));
        }
        text
    }
}

fn last_lines(text: &str) -> Vec<&str> {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(EXCERPT_LINES)..].to_vec()
}

impl Ui {
    /// Tells of a failure, and gives the exit code for it.
    pub(crate) fn error(self, error: &CommandError) -> u8 {
        if let CommandError::Failed(failure) = error {
            self.note(failure.render());
        }
        error.exit_code()
    }
}

#[cfg(test)]
mod tests;
