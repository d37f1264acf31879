//! A terminal with a test at its keyboard.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::PATIENCE;

/// A pseudo terminal. All that is written to it is read at once, so nobody waits for the test.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    /// As a program has it. Without anybody who has it open a terminal ends.
    device: OwnedFd,
    pieces: Receiver<String>,
    seen: String,
}

impl Terminal {
    /// With so many columns, and 24 rows.
    ///
    /// # Panics
    /// When the system gives no pseudo terminal.
    #[must_use]
    pub fn new(columns: u16) -> Self {
        Self::of_size(columns, 24)
    }

    /// One that nobody has told its size, as a serial line: it says 0 and 0.
    ///
    /// # Panics
    /// When the system gives no pseudo terminal.
    #[must_use]
    pub fn of_unknown_size() -> Self {
        Self::of_size(0, 0)
    }

    fn of_size(columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
        grantpt(&master).expect("our own terminal");
        unlockpt(&master).expect("our own terminal");
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("our own terminal");
        let path = ptsname(&master, Vec::new()).expect("our own terminal");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let device = rustix::fs::open(&*path, flags, Mode::empty()).expect("our own terminal");
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().expect("a second handle of a file");
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal that nobody has open any more ends with an error (EIO), once everything was read.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self {
            keyboard,
            device,
            pieces,
            seen: String::new(),
        }
    }

    /// What a program has as an input or output.
    ///
    /// # Panics
    /// When this process has too many files open.
    #[must_use]
    pub fn device(&self) -> OwnedFd {
        self.device.try_clone().expect("a second handle of a file")
    }

    /// Starts `command` with all of its inputs and outputs here.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Child {
        command
            .stdin(self.device())
            .stdout(self.device())
            .stderr(self.device())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
    }

    /// Waits until this stands on the screen, and takes what came up to its end from it.
    ///
    /// # Panics
    /// When it does not come within [`PATIENCE`].
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            if let Some(place) = self.seen.find(text) {
                let rest = self.seen.split_off(place + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            match self.pieces.recv_timeout(PATIENCE) {
                Ok(piece) => self.seen.push_str(&piece),
                Err(_) => panic!("no {text:?} at the terminal, but: {}", self.seen),
            }
        }
    }

    /// # Panics
    /// When the terminal takes no more.
    pub fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("a terminal takes keys");
    }

    /// Whether what is typed is shown.
    ///
    /// # Panics
    /// Never: it is our own terminal.
    #[must_use]
    pub fn echoes(&self) -> bool {
        let settings = tcgetattr(&self.device).expect("our own terminal");
        settings.local_modes.contains(LocalModes::ECHO)
    }

    /// All that was not taken yet, when every program that had it has ended.
    ///
    /// # Panics
    /// When one has not within [`PATIENCE`].
    #[must_use]
    pub fn rest(mut self) -> String {
        drop(self.device);
        loop {
            match self.pieces.recv_timeout(PATIENCE) {
                Ok(piece) => self.seen.push_str(&piece),
                Err(RecvTimeoutError::Disconnected) => return self.seen,
                Err(RecvTimeoutError::Timeout) => panic!("somebody still has the terminal: {}", self.seen),
            }
        }
    }
}
