//! What is typed into the console.
//!
//! Invariant: standard input is read only once it has something to say, so that a start in the background is not
//! stopped by the terminal; and a terminal is given back as it was found.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::sync::mpsc;

/// Starts the thread that reads standard input; it ends with the process.
pub(super) fn start() -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (send, receive) = mpsc::channel(4);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let stdin = rustix::stdio::stdin();
            let mut bytes = [0; 1024];
            loop {
                let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
                match ready.and_then(|_| rustix::io::read(stdin, &mut bytes)) {
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Ok(0) | Err(_) => return,
                    Ok(count) => {
                        if send.blocking_send(bytes[..count].to_vec()).is_err() {
                            return;
                        }
                    }
                }
            }
        })?;
    Ok(receive)
}

/// A terminal on standard input, in raw mode while this lives: every key goes to the guest.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Switches the terminal; none if standard input is no terminal or this process is in its background.
    #[must_use]
    pub fn enter() -> Option<Self> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) || tcgetpgrp(stdin).ok()? != rustix::process::getpgrp() {
            return None;
        }
        let before = tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        // As Firecracker does; output keeps its line endings, since log lines go to the same terminal.
        raw.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing better can be done about a terminal that is gone.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}
