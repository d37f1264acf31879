//! The guest's console: standard input, output and error of PID 1, and of what it starts.
//!
//! The invariant: every line of ours starts with `powerunit: ` and is one write, so that the host finds it whole between
//! the lines of others.

use std::error::Error;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Getter, Opcode};

/// How long the end of the machine waits for a console that takes nothing more.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it looks: nothing announces that a terminal's queue is empty.
const LOOK: Duration = Duration::from_millis(1);

/// How many bytes a terminal has not sent yet, ioctl_tty(2); the number is that of asm-generic/ioctls.h.
const TIOCOUTQ: Opcode = 0x5411;

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

/// Waits until all that was written is with the host: a reset of the machine takes what the kernel still holds along.
pub(crate) fn drain() {
    wait_until_sent(std::io::stderr());
}

/// Waits until a terminal has sent everything; not for one that somebody has stopped, since tcdrain(3) would wait for ever.
fn wait_until_sent(terminal: impl AsFd) {
    let deadline = Instant::now() + PATIENCE;
    // SAFETY: the opcode writes a C `int`.
    while let Ok(1..) = unsafe { rustix::ioctl::ioctl(&terminal, Getter::<TIOCOUTQ, i32>::new()) } {
        if Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(LOOK);
    }
    // What the device itself still holds: the driver gives it a bounded time. Something that is no terminal refuses.
    let _ = rustix::termios::tcdrain(&terminal);
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc::channel;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Action, tcflow};

    use super::*;

    #[test]
    fn a_stopped_terminal_is_not_waited_for_for_ever() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcflow(&terminal, Action::OOff).unwrap();
        let (done, end) = channel();
        let waiting = terminal.try_clone().unwrap();
        std::thread::spawn(move || {
            wait_until_sent(waiting);
            done.send(()).unwrap();
        });
        end.recv_timeout(Duration::from_secs(60)).unwrap();
        tcflow(&terminal, Action::OOn).unwrap();
        drop((terminal, master));
    }

    #[test]
    fn what_is_no_terminal_is_no_obstacle() {
        let (mut read, write) = std::io::pipe().unwrap();
        (&write).write_all(b"x").unwrap();
        wait_until_sent(&write);
        drop(write);
        let mut all = String::new();
        read.read_to_string(&mut all).unwrap();
        assert_eq!(all, "x");
    }
}
