//! Commands in a machine, over SSH on vsock.

use std::collections::BTreeMap;

mod session;

pub use session::{Session, SessionEvent, SessionInput};

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The user's login shell.
    Shell,
    /// A line for the user's shell.
    Line(String),
    /// An SSH subsystem: `sftp`.
    Subsystem(String),
}

/// A terminal for the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pty {
    /// `TERM`: `xterm-256color`.
    pub term: String,
    pub columns: u32,
    pub rows: u32,
}

/// What to run, as whom, and how.
///
/// ```
/// use knaller::ExecRequest;
///
/// let request = ExecRequest::argv(["echo", "two words"]).user("root").env("LANG", "C");
/// assert_eq!(request, ExecRequest::line("echo 'two words'").user("root").env("LANG", "C"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    pub command: Command,
    /// Who runs it: `root` unless set.
    pub user: String,
    pub env: BTreeMap<String, String>,
    pub pty: Option<Pty>,
}

impl ExecRequest {
    /// The login shell.
    #[must_use]
    pub fn shell() -> Self {
        Self::new(Command::Shell)
    }

    /// A line that the user's shell runs.
    #[must_use]
    pub fn line(line: impl Into<String>) -> Self {
        Self::new(Command::Line(line.into()))
    }

    /// A program and its arguments, quoted for the user's shell so that they arrive as they are.
    #[must_use]
    pub fn argv<T: AsRef<str>>(argv: impl IntoIterator<Item = T>) -> Self {
        let words: Vec<_> = argv.into_iter().map(|word| quote(word.as_ref())).collect();
        Self::line(words.join(" "))
    }

    /// An SSH subsystem.
    #[must_use]
    pub fn subsystem(name: impl Into<String>) -> Self {
        Self::new(Command::Subsystem(name.into()))
    }

    fn new(command: Command) -> Self {
        Self {
            command,
            user: "root".to_owned(),
            env: BTreeMap::new(),
            pty: None,
        }
    }

    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    #[must_use]
    pub fn pty(mut self, pty: Pty) -> Self {
        self.pty = Some(pty);
        self
    }
}

/// `word` as one word of a POSIX shell (2.2.2: nothing is special between single quotes but the single quote).
fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecExit {
    Code(u32),
    /// The signal's name without `SIG`, as `KILL`.
    Signal(String),
    /// The connection went before the command said how it ended: the machine stopped, or the network did.
    Lost,
}

impl ExecExit {
    /// As a shell gives it: the code, 128 and the signal's number, 255 for what was lost.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Code(code) => u8::try_from(*code & 0xff).unwrap_or(u8::MAX),
            Self::Signal(name) => 128u8.saturating_add(signal_number(name)),
            Self::Lost => 255,
        }
    }
}

/// Numbers of the signals that RFC 4254, 6.10, names, as Linux has them.
fn signal_number(name: &str) -> u8 {
    match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        _ => 15,
    }
}

/// What a command said, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub exit: ExecExit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn quoted_words_survive_a_real_shell(words in prop::collection::vec("[^\0]{0,12}", 1..5)) {
            let Command::Line(line) = ExecRequest::argv(&words).command else { unreachable!() };
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf '%s\\0' {line}")])
                .output()
                .unwrap();
            let expected: Vec<u8> = words.iter().flat_map(|w| w.bytes().chain([0])).collect();
            prop_assert_eq!(output.stdout, expected);
        }
    }

    #[test]
    fn exit_codes_as_a_shell_gives_them() {
        assert_eq!(ExecExit::Code(3).code(), 3);
        assert_eq!(ExecExit::Signal("KILL".into()).code(), 137);
        assert_eq!(ExecExit::Lost.code(), 255);
    }
}
