//! Asking an init of the image's own to end the machine.
//!
//! The invariant: it is asked as soon as it listens, and not before: a signal that PID 1 has not said anything about is
//! dropped by the kernel (pid_namespaces(7)), and systemd is the machine's PID 1 for seconds before it does.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::console::say;
use crate::sys;

/// What every init takes for Ctrl-Alt-Del, which is a reboot, which ends a microVM.
const SIGNAL: i32 = libc::SIGINT;

/// How often PID 1 is looked at: nothing tells of what it listens to.
const PAUSE: Duration = Duration::from_millis(20);

/// An init that has not listened for so long is asked all the same.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks PID 1 when it listens.
pub(crate) async fn end_machine() {
    let deaf = async {
        // What cannot be looked at is asked at once.
        while std::fs::read_to_string("/proc/1/status").is_ok_and(|status| !listens(&status)) {
            sleep(PAUSE).await;
        }
    };
    let _ = timeout(PATIENCE, deaf).await;
    if let Err(e) = sys::kill(1, SIGNAL) {
        say(&format!(
            "the image's init cannot be asked to end the machine: {e}"
        ));
    }
}

/// Whether the process of this /proc/PID/status has a handler for the signal, or has it blocked, as who reads it from a
/// descriptor does: then it waits there.
fn listens(status: &str) -> bool {
    let has = |name: &str| {
        let mut masks = status.lines().filter_map(|line| line.strip_prefix(name));
        let mask = masks.next().map(str::trim);
        mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .is_some_and(|mask| (mask >> (SIGNAL - 1)) & 1 == 1)
    };
    has("SigBlk:") || has("SigCgt:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_has_a_handler_or_the_signal_blocked() {
        let status = |blocked: u64, caught: u64| {
            format!(
                "Name:\tinit\nSigQ:\t0/1\nSigBlk:\t{blocked:016x}\nSigIgn:\t0000000000000002\nSigCgt:\t{caught:016x}\n"
            )
        };
        assert!(!listens(&status(0, 0)) && !listens(&status(!2, !2)) && !listens(""));
        assert!(listens(&status(2, 0)) && listens(&status(0, 2)));
    }

    #[test]
    fn the_kernel_tells_so() {
        let own = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
        // A thread of its own: what it blocks no other test misses.
        std::thread::spawn(move || {
            assert!(!listens(&own()));
            let _read_from = sys::signal_fd(&[SIGNAL]).unwrap();
            assert!(listens(&own()));
        })
        .join()
        .unwrap();
    }
}
