//! One check: a program, its output, and its end, which comes in time.
//!
//! The invariant: nothing is left of a check that is over: its process group is killed whatever the program did, also when
//! nobody waits for it any more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Result;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use guest_protocol::Exit;
use guest_protocol::control::{CheckResult, MAX_CHECK_OUTPUT};
use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;

use crate::sys;

/// Runs `command`, which leads a session of its own. Gives how it ended, and the end of what it wrote.
pub(super) async fn run(mut command: Command, timeout: Duration) -> Result<(CheckResult, String)> {
    let (reader, writer) = std::io::pipe()?;
    let mut output = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    // The command, which holds ends of the pipe, is gone with this line: else the output would have no end.
    let mut child = tokio::process::Command::from(command).spawn()?;
    let group = Group::of(&child);
    let mut tail = Tail::default();
    let ended = tokio::select! {
        ended = child.wait() => Some(ended?),
        never = tail.follow(&mut output) => match never {},
        () = tokio::time::sleep(timeout) => None,
    };
    drop(group);
    if ended.is_none() {
        child.wait().await?;
    }
    tail.take_rest(&output);
    Ok((result(ended), tail.text()))
}

fn result(ended: Option<ExitStatus>) -> CheckResult {
    let number = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match ended.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => CheckResult::Exit(Exit::Code(number(code))),
        Some((None, signal)) => CheckResult::Exit(Exit::Signal(number(signal.unwrap_or_default()))),
        None => CheckResult::TimedOut,
    }
}

/// A process group that is killed at the end of this value's life.
struct Group(Option<i32>);

impl Group {
    fn of(leader: &Child) -> Self {
        Self(leader.id().and_then(|id| i32::try_from(id).ok()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Mostly it has ended by itself.
            let _ = sys::kill(-group, libc::SIGKILL);
        }
    }
}

/// The end of an output.
#[derive(Debug, Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    /// Reads for as long as it is let.
    async fn follow(&mut self, output: &mut Receiver) -> Infallible {
        let mut buffer = [0; 1024];
        loop {
            match output.read(&mut buffer).await {
                Ok(length @ 1..) => self.push(buffer.get(..length).unwrap_or_default()),
                Ok(0) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Reads what has been written already. Whoever escaped from the group may hold the other end still.
    fn take_rest(&mut self, output: &Receiver) {
        let mut buffer = [0; 1024];
        // A pipe's worth: more can only have been written meanwhile.
        for _ in 0..PIPE / buffer.len() {
            match rustix::io::read(output, &mut buffer) {
                Ok(length @ 1..) => self.push(buffer.get(..length).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let over = self.0.len().saturating_sub(MAX_CHECK_OUTPUT);
        self.0.drain(..over);
    }

    fn text(mut self) -> String {
        String::from_utf8_lossy(self.0.make_contiguous()).into_owned()
    }
}

/// How much a pipe holds, pipe(7).
const PIPE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(120);

    fn check(script: &str, timeout: Duration) -> (CheckResult, String) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        // SAFETY: one system call.
        unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(run(command, timeout)).unwrap()
    }

    #[test]
    fn both_outputs_and_the_code_are_kept() {
        let (result, output) = check("echo out; echo err >&2; exit 3", LONG);
        assert_eq!(result, CheckResult::Exit(Exit::Code(3)));
        assert_eq!(output, "out\nerr\n");
        assert_eq!(check("kill -9 $$", LONG).0, CheckResult::Exit(Exit::Signal(9)));
    }

    #[test]
    fn of_much_output_the_end_is_kept() {
        let (result, output) = check("seq 100000", LONG);
        assert_eq!(result, CheckResult::Exit(Exit::Code(0)));
        assert!(output.ends_with("\n99999\n100000\n") && output.len() <= MAX_CHECK_OUTPUT);
    }

    /// Children that hold the output neither keep the check from its end nor outlive it.
    #[test]
    fn the_whole_group_ends() {
        let pid = |output: &str| output.trim().parse::<i32>().unwrap();
        let gone = |pid: i32| {
            // It is somebody else's to reap: dead is enough.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let (result, output) = check("sleep 1000 & echo $!; exit 0", LONG);
        assert_eq!(result, CheckResult::Exit(Exit::Code(0)));
        while !gone(pid(&output)) {
            std::thread::yield_now();
        }
        let (result, output) = check(
            "trap '' TERM; sleep 1000 & echo $!; wait",
            Duration::from_millis(500),
        );
        assert_eq!(result, CheckResult::TimedOut);
        while !gone(pid(&output)) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_cannot_start_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ran = runtime.unwrap().block_on(run(Command::new("/nonexistent"), LONG));
        assert_eq!(ran.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
