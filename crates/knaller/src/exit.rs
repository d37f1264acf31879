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
    /// It powered off, was killed, or had no command.
    Off,
}

impl Exit {
    /// The command's exit code as a shell gives it; 0 if it just powered off; 10 for a panic.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Command(exit) => exit.shell_code(),
            Self::Panicked(_) => crate::Class::Guest.code(),
            Self::Off => 0,
        }
    }
}
