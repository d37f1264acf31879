//! Commands that come to their end in time, with all they said.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long a command may take on a busy machine before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What a command left.
#[derive(Clone, Debug)]
pub struct Ran {
    line: String,
    status: ExitStatus,
    /// Its standard output, as it came.
    pub bytes: Vec<u8>,
    /// The same as text.
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command` without any input.
///
/// # Panics
/// When it cannot be started, or does not end within [`PATIENCE`].
pub fn run(command: &mut Command) -> Ran {
    run_with(command, &[])
}

/// Runs `command` with `input`.
///
/// # Panics
/// As [`run`].
pub fn run_with(command: &mut Command, input: &[u8]) -> Ran {
    let line = format!("{command:?}");
    command.stdin(if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    });
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
    let stdin = child.stdin.take();
    let input = input.to_vec();
    // A command may end without reading it all.
    let feed = stdin.map(|mut stdin| std::thread::spawn(move || drop(stdin.write_all(&input))));
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = end(&mut child, &line);
    if let Some(feed) = feed {
        feed.join().expect("a thread that only writes");
    }
    let bytes = stdout.join().expect("a thread that only reads");
    let stderr = stderr.join().expect("a thread that only reads");
    Ran {
        line,
        status,
        stdout: String::from_utf8_lossy(&bytes).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        bytes,
    }
}

/// Waits for a child's end.
///
/// # Panics
/// When it does not come within [`PATIENCE`]; the child is killed then.
pub fn end(child: &mut Child, what: &str) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let handle = id
        .and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok())
        .expect("a child that nobody waited for");
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("a short time");
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => {
                let _ = child.kill();
                panic!("{what} did not end within {PATIENCE:?}");
            }
            Ok(_) => return child.wait().expect("a child that has ended"),
            Err(_interrupted) => {}
        }
    }
}

/// Sends a signal to a child that has not been waited for.
///
/// # Panics
/// When it is gone.
pub fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a child's id"), signal).expect("a child of ours");
}

/// Reads a child's stream in a thread of its own.
pub(crate) fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read counts.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

impl Ran {
    /// The exit code, or 128 and the signal's number.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .or_else(|| self.status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1)
    }

    /// Its standard output, of what must succeed.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> String {
        assert_eq!(self.code(), 0, "{self}");
        self.stdout
    }

    /// Itself, of what must end with this code and say all of `texts` on standard error.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn fails(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.code(), code, "{self}");
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} from {self}");
        }
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line, stdout, stderr, ..
        } = self;
        write!(
            f,
            "{line}\n--- code {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
            self.code()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_output_and_code() {
        let ran = run_with(
            Command::new("sh").args(["-c", "cat; echo told >&2; exit 3"]),
            b"in",
        );
        assert_eq!((ran.code(), ran.stdout.as_str()), (3, "in"));
        ran.fails(3, &["told"]);
        assert_eq!(run(Command::new("sh").args(["-c", "kill -KILL $$"])).code(), 137);
    }
}
