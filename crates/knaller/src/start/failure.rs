//! Why a start failed, told from what its processes left: the one place that reads logs for a meaning.

use std::process::ExitStatus;

use guest_protocol::console;

use super::launch::tail;
use crate::layout::Files;
use crate::network::pasta;
use crate::{Error, Forward};

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
        let log = tail(&self.files.vmm_log());
        if !self.started {
            return pasta::complaint(&log, self.forwards).unwrap_or(Error::VmmDied { vmm: self.vmm, log });
        }
        let console = self.console();
        if let Some(line) = console::kernel_panic(&console) {
            return Error::GuestPanicked {
                line: line.to_owned(),
                console,
            };
        }
        // Firecracker ends with 0 when its guest resets or powers off, and with another code for its own troubles
        // (src/firecracker/src/main.rs: FcExitCode).
        if !status.success() {
            return Error::VmmDied { vmm: self.vmm, log };
        }
        let said = console
            .lines()
            .rev()
            .find_map(|line| line.split_once(console::FAILED));
        match said.map(|(_, message)| message.trim().to_owned()) {
            Some(message) => Error::GuestFailed {
                step: "init".to_owned(),
                message,
                console,
            },
            None => Error::GuestEnded { console },
        }
    }

    pub(super) fn console(&self) -> String {
        tail(&self.files.console())
    }
}
