//! Why a start failed, told from what its processes left: the one place that reads logs for a meaning.

use std::process::ExitStatus;
use std::time::Duration;

use guest_protocol::console;

use crate::layout::Files;
use crate::network::pasta;
use crate::watch::Watch;
use crate::{Error, Forward, tail};

/// How long what the guest has written may be on its way through the serial port and the VMM.
const CONSOLE_LAG: Duration = Duration::from_secs(2);

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

/// The end of the console once `message` stands on it: the guest writes it there before it tells the host, but the console is
/// the slower way.
pub(super) async fn console_that_says(files: &Files, message: &str) -> String {
    let path = files.console();
    let line = message.lines().last().unwrap_or_default();
    let said = async {
        let Ok(watch) = Watch::folder(&files.data) else {
            return;
        };
        while !tail::of(&path).contains(line) {
            match watch.changes().await {
                Ok(changes) if !changes.over => {}
                _ => return,
            }
        }
    };
    // What has not come by then is shown without.
    let _ = tokio::time::timeout(CONSOLE_LAG, said).await;
    tail::lines(&tail::of(&path))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn the_console_is_shown_with_the_message_whole() {
        let temp = tempfile::tempdir().unwrap();
        let files = Files {
            data: temp.path().to_owned(),
            runtime: temp.path().to_owned(),
        };
        let mut console = std::fs::File::create(files.console()).unwrap();
        console
            .write_all(b"powerunit: failed: entrypoint: no x in t")
            .unwrap();
        let asked = console_that_says(&files, "no x in the image");
        let come = async {
            // In the middle of the wait: the other future is polled first and has its watch by now.
            tokio::task::yield_now().await;
            console.write_all(b"he image\r\n").unwrap();
        };
        let (shown, ()) = tokio::join!(asked, come);
        assert_eq!(shown, "powerunit: failed: entrypoint: no x in the image");
    }
}
