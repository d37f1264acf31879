//! The guest's console: standard input, output and error of PID 1, and of what it starts.
//!
//! The invariant: every line of ours starts with `powerunit: ` and is one write, so that the host finds it whole between
//! the lines of others.

use std::error::Error;
use std::io::Write;

use rustix::fs::{Mode, OFlags};

/// Makes /dev/console the standard descriptors. The kernel has done so already, but with a device file of the initramfs, which
/// is gone before long, and with it the path behind /proc/self/fd/1.
pub(crate) fn open() {
    let Ok(console) = rustix::fs::open(
        "/dev/console",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return;
    };
    // Whichever fails, there is nobody left to tell.
    let _ = rustix::stdio::dup2_stdin(&console);
    let _ = rustix::stdio::dup2_stdout(&console);
    let _ = rustix::stdio::dup2_stderr(&console);
}

/// Writes one line. What cannot be written is lost: the console is the last resort itself.
pub(crate) fn say(line: &str) {
    say_whole(&format!("powerunit: {line}"));
}

/// As [`say`], for a line that says itself whose it is.
pub(crate) fn say_whole(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// An error and all its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
