//! Why a start failed, told from what its processes left: the one place that reads logs for a meaning.

use std::process::ExitStatus;

use guest_protocol::console;

use crate::layout::Files;
use crate::network::pasta;
use crate::{Error, Forward, tail};

/// What is known of a boot that ended too early.
pub(super) struct Post<'a> {
    pub(super) files: &'a Files,
    pub(super) vmm: &'static str,
    pub(super) forwards: &'a [Forward],
    /// Whether the guest ran already.
    pub(super) started: bool,
}

impl Post<'_> {
    /// The processes ended, with the status of the first of them.
    pub(super) fn processes_ended(&self, status: ExitStatus) -> Error {
        let log = tail::of(&self.files.vmm_log());
        let died = Error::VmmDied {
            vmm: self.vmm,
            log: tail::lines(&log),
        };
        if !self.started {
            return pasta::complaint(&log, self.forwards).unwrap_or(died);
        }
        let console = tail::of(&self.files.console());
        if let Some(line) = console::kernel_panic(&console) {
            let line = line.to_owned();
            return Error::GuestPanicked {
                line,
                console: tail::lines(&console),
            };
        }
        // Firecracker ends with 0 when its guest resets or powers off, and with another code for its own troubles
        // (src/firecracker/src/main.rs: FcExitCode).
        if !status.success() {
            return died;
        }
        let said = console
            .lines()
            .rev()
            .find_map(|line| line.split_once(console::FAILED));
        let said = said.map(|(_, message)| message.trim().to_owned());
        let console = tail::lines(&console);
        match said {
            Some(message) => Error::GuestFailed {
                step: "init".to_owned(),
                message,
                console,
            },
            None => Error::GuestEnded { console },
        }
    }
}
