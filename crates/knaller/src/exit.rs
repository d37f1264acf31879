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
    /// It had no command, and was stopped or killed or powered off.
    Off,
    /// It had a command and ended without telling how that did: it was killed, its VMM died, or the guest powered off by
    /// other means than its init.
    Lost,
}

impl Exit {
    /// The command's exit code as a shell gives it; 0 if it had none; 10 for a panic; 9 if nobody knows.
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
