//! How a machine ended.

use serde::{Deserialize, Serialize};

/// How a machine ended, as far as its console tells: no process stays to watch it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Its command ended by itself or was asked to.
    Command(guest_protocol::Exit),
    /// The kernel panicked: the panic's line.
    Panicked(String),
    /// It had no command, and its kernel ended it: it was stopped, or powered off from within.
    Off,
    /// It ended without a word: it was killed, or its VMM died. Or it had a command and did not tell how that ended, as when
    /// somebody in the guest goes past its init.
    Lost,
}

impl Exit {
    /// The command's exit code as a shell gives it; 0 if it had none; 10 for a panic; 9 if it ended without a word.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Command(exit) => exit.shell_code(),
            Self::Panicked(_) => crate::Class::Guest.code(),
            Self::Off => 0,
            Self::Lost => crate::Class::Vmm.code(),
        }
    }
}
