//! The user's own terminal while a guest's program owns it.
//!
//! The invariant: however the command ends short of SIGKILL, the terminal is as it was before. [`Raw`] and [`Hidden`] put it
//! back when dropped, and every signal that would end the process is taken as an event (see [`crate::signals`]), so drops
//! run.

use std::io::{self, IsTerminal as _, Read as _, Stdin};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::sync::mpsc;

/// Whether standard input, output and error are all a terminal: a person sits there and nothing is captured.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Columns and rows of the terminal on standard input, or of 80 by 24 where there is none.
pub(crate) fn size() -> (u16, u16) {
    match termios::tcgetwinsize(io::stdin()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => (80, 24),
    }
}

/// What the guest shall take the terminal for.
pub(crate) fn kind() -> String {
    std::env::var("TERM")
        .ok()
        .filter(|term| !term.is_empty())
        .unwrap_or_else(|| "xterm".to_owned())
}

/// While this lives, standard input does not show what is typed, or part of it.
#[derive(Debug)]
pub(crate) struct Hidden {
    stdin: Stdin,
    before: Termios,
}

impl Hidden {
    /// Nothing is shown: for passwords. What was typed before, and so was seen, is thrown away.
    pub(crate) fn all() -> io::Result<Self> {
        Self::without(LocalModes::ECHO, OptionalActions::Flush)
    }

    /// No `^C` is shown, which would move the cursor of who draws in place. `None` where there is no terminal to ask
    /// that of, or it is another program's now.
    pub(crate) fn controls() -> Option<Self> {
        let ours = io::stdin().is_terminal() && is_in_front();
        ours.then(|| Self::without(LocalModes::ECHOCTL, OptionalActions::Now).ok())
            .flatten()
    }

    /// Nothing is shown, and each key is heard at once, while signals stay what they are. `None` as with [`Self::controls`].
    fn keys() -> Option<Self> {
        let ours = io::stdin().is_terminal() && is_in_front();
        let modes = LocalModes::ECHO | LocalModes::ICANON;
        ours.then(|| Self::without(modes, OptionalActions::Now).ok())
            .flatten()
    }

    fn without(modes: LocalModes, when: OptionalActions) -> io::Result<Self> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(&stdin)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(modes);
        termios::tcsetattr(&stdin, when, &hidden)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if is_in_front() {
            // A terminal that went away (a closed window) needs no putting back.
            let _ = termios::tcsetattr(&self.stdin, OptionalActions::Drain, &self.before);
        }
    }
}

/// Whether the terminal on standard input listens to this process. The kernel stops one in the background that changes it, but
/// none whose controlling terminal it is not.
fn is_in_front() -> bool {
    termios::tcgetpgrp(io::stdin()).map_or(true, |group| group == rustix::process::getpgrp())
}

/// What a person types at something that goes on by itself. Without a terminal nothing is read: a pipe is somebody else's.
#[derive(Debug)]
pub(crate) struct Keys {
    typed: mpsc::Receiver<u8>,
    _hidden: Option<Hidden>,
}

impl Keys {
    pub(crate) fn listen() -> Self {
        let hidden = if is_interactive() { Hidden::keys() } else { None };
        let (sender, typed) = mpsc::channel(16);
        if hidden.is_some() {
            // It waits in a read that nothing ends, and goes with the process.
            std::thread::spawn(move || {
                for byte in io::stdin().lock().bytes().map_while(Result::ok) {
                    if sender.blocking_send(byte).is_err() {
                        break;
                    }
                }
            });
        }
        Self {
            typed,
            _hidden: hidden,
        }
    }

    /// Until `q` is typed. Losing this future loses no key.
    pub(crate) async fn quit(&mut self) {
        while let Some(key) = self.typed.recv().await {
            if matches!(key, b'q' | b'Q') {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

/// While this lives, standard input hands over every byte as it is typed: the guest's terminal does the editing,
/// the echo and the signals.
#[derive(Debug)]
pub(crate) struct Raw {
    stdin: Stdin,
    before: Termios,
}

impl Raw {
    /// `None` where standard input is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Some(Self { stdin, before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that went away (a closed window) needs no putting back.
        let _ = termios::tcsetattr(&self.stdin, OptionalActions::Drain, &self.before);
    }
}
