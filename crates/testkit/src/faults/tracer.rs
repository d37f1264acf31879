//! The one who follows: ptrace(2), and nothing that knows what a step is.

use std::collections::{HashMap, HashSet};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{JoinHandle, ScopedJoinHandle};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::decode::Stopped;
use super::{Points, Step};
use crate::run::{PATIENCE, collect};

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The call is made.
    Go,
    /// The process is killed, and the call is not made.
    Kill,
    /// The call is not made, and fails with this.
    Fail(Errno),
}

/// What a command that was followed has left.
#[derive(Clone, Debug)]
pub struct Traced {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// Whether it had to be killed, since it did not come to its end.
    pub hung: bool,
}

/// Runs a command of a sandbox, without input, and asks at each of its steps what is to happen. The thread that takes
/// the step waits for the answer, its other threads do not.
///
/// # Panics
/// When it cannot be started or followed.
#[expect(
    clippy::zombie_processes,
    reason = "the tracer waits for it, and for its threads"
)]
pub fn follow(command: &mut Command, sandbox: &Path, act: impl FnMut(&Step) -> Act + Send) -> Traced {
    // Whoever forks is the one who follows, and the one who waits: a thread of its own, so that no other child of this
    // process is in its way.
    std::thread::scope(|scope| {
        let followed: ScopedJoinHandle<'_, Traced> = scope.spawn(move || {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            // SAFETY: one system call, as is right between fork and exec.
            unsafe { command.pre_exec(|| request(libc::PTRACE_TRACEME, 0, 0, 0).map_err(Into::into)) };
            let mut child = command.spawn().expect("a command that can be started");
            let outputs = (collect(child.stdout.take()), collect(child.stderr.take()));
            let leader = i32::try_from(child.id()).expect("a process id");
            let (done, watched) = channel::<()>();
            let watch = std::thread::spawn(move || {
                let hung = watched.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
                if hung {
                    kill(leader);
                }
                hung
            });
            let status = Tracer::new(leader, sandbox, act).run();
            drop(done);
            let text = |output: JoinHandle<Vec<u8>>| {
                let bytes = output.join().expect("a thread that only reads");
                String::from_utf8_lossy(&bytes).into_owned()
            };
            Traced {
                status,
                stdout: text(outputs.0),
                stderr: text(outputs.1),
                hung: watch.join().expect("a thread that only waits"),
            }
        });
        followed
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

struct Tracer<'a, A> {
    leader: i32,
    sandbox: &'a Path,
    act: A,
    points: Points,
    threads: HashSet<i32>,
    /// Threads in a call that is to fail.
    failing: HashMap<i32, Errno>,
}

impl<'a, A: FnMut(&Step) -> Act> Tracer<'a, A> {
    fn new(leader: i32, sandbox: &'a Path, act: A) -> Self {
        Self {
            leader,
            sandbox,
            act,
            points: Points::default(),
            threads: HashSet::new(),
            failing: HashMap::new(),
        }
    }

    fn run(mut self) -> ExitStatus {
        loop {
            let mut status = 0;
            // SAFETY: the pointer is to a local integer.
            let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
            assert!(
                thread > 0,
                "nobody to follow: {}",
                std::io::Error::last_os_error()
            );
            if !libc::WIFSTOPPED(status) {
                if thread == self.leader {
                    return ExitStatus::from_raw(status);
                }
                self.threads.remove(&thread);
                continue;
            }
            let signal = self.stopped(thread, status);
            // It may have been killed meanwhile.
            let _ = request(libc::PTRACE_SYSCALL, thread, 0, signal);
        }
    }

    /// What a stop means: the signal that the thread is to get.
    fn stopped(&mut self, thread: i32, status: i32) -> u64 {
        /// Of a system call, as asked for by `PTRACE_O_TRACESYSGOOD`.
        const CALL: i32 = libc::SIGTRAP | 0x80;
        if self.threads.insert(thread) {
            if thread == self.leader {
                let options = libc::PTRACE_O_TRACESYSGOOD
                    | libc::PTRACE_O_TRACECLONE
                    | libc::PTRACE_O_TRACEEXEC
                    | libc::PTRACE_O_EXITKILL;
                let options = u64::try_from(options).expect("bits");
                request(libc::PTRACE_SETOPTIONS, thread, 0, options).expect("a process that stands still");
            }
            // The stop with which it begins.
            return 0;
        }
        match libc::WSTOPSIG(status) {
            CALL => {
                self.call(thread);
                0
            }
            // An event: a thread was made, or the program is another.
            libc::SIGTRAP => 0,
            signal => u64::try_from(signal).expect("a signal"),
        }
    }

    fn call(&mut self, thread: i32) {
        let Some(info) = info(thread) else { return };
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            if let Some(errno) = self.failing.remove(&thread) {
                let result = i64::from(-errno.raw_os_error()).cast_unsigned();
                set(thread, libc::RAX, result);
            }
            return;
        }
        // SAFETY: the kernel has said which of the union it filled.
        let entry = unsafe { info.u.entry };
        let stopped = Stopped {
            thread,
            number: entry.nr,
            arguments: entry.args,
        };
        let Some(step) = stopped.step(self.sandbox, &mut self.points) else {
            return;
        };
        match (self.act)(&step) {
            Act::Go => {}
            Act::Kill => kill(self.leader),
            Act::Fail(errno) => {
                self.failing.insert(thread, errno);
                // No call has this number.
                set(thread, libc::ORIG_RAX, u64::MAX);
            }
        }
    }
}

/// Which call a thread is in.
fn info(thread: i32) -> Option<libc::ptrace_syscall_info> {
    // SAFETY: plain data, for which zeros are a value.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = u64::try_from(size_of_val(&info)).ok()?;
    let to = (&raw mut info).addr();
    request(
        libc::PTRACE_GET_SYSCALL_INFO,
        thread,
        size,
        u64::try_from(to).ok()?,
    )
    .ok()?;
    Some(info)
}

/// Sets a register.
fn set(thread: i32, register: libc::c_int, value: u64) {
    let offset = u64::try_from(register).expect("a small number") * 8;
    // It may have been killed meanwhile.
    let _ = request(libc::PTRACE_POKEUSER, thread, offset, value);
}

fn request(what: libc::c_uint, thread: i32, address: u64, data: u64) -> Result<(), Errno> {
    // SAFETY: the addresses are none of this process's, but for `info`'s, which is valid there for as long as the call takes.
    let result = unsafe { libc::ptrace(what, thread, address, data) };
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    Ok(())
}

fn kill(process: i32) {
    if let Some(pid) = Pid::from_raw(process) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use crate::Sandbox;

    use super::*;

    /// A shell that makes a folder and a file in it.
    fn shell(sandbox: &Sandbox) -> Command {
        let mut command = sandbox.command("/bin/sh");
        let _ = command.args([
            "-c",
            "cd \"$HOME\"; mkdir one; echo text > file && echo written; echo over",
        ]);
        command
    }

    #[test]
    fn steps_are_the_process_s_own_and_in_the_sandbox() {
        let sandbox = Sandbox::new();
        let mut seen = Vec::new();
        let traced = follow(&mut shell(&sandbox), sandbox.path(), |step| {
            seen.push(step.point.to_string());
            Act::Go
        });
        assert_eq!(traced.stdout, "written\nover\n", "{traced:?}");
        assert!(traced.status.success() && !traced.hung);
        assert!(seen.contains(&"create home/file #0".to_owned()), "{seen:?}");
        assert!(seen.contains(&"fork #0".to_owned()), "{seen:?}");
        assert!(!seen.iter().any(|step| step.starts_with("mkdir")), "{seen:?}");
    }

    #[test]
    fn a_call_fails_or_is_the_last() {
        let sandbox = Sandbox::new();
        let at = |step: &Step| step.point.what == "create home/file";
        let failed = follow(&mut shell(&sandbox), sandbox.path(), |step| {
            if at(step) {
                Act::Fail(Errno::NOSPC)
            } else {
                Act::Go
            }
        });
        assert!(failed.stderr.contains("No space left"), "{failed:?}");
        assert_eq!(failed.stdout, "over\n");
        let killed = follow(&mut shell(&sandbox), sandbox.path(), |step| {
            if at(step) { Act::Kill } else { Act::Go }
        });
        assert_eq!(killed.status.signal(), Some(libc::SIGKILL), "{killed:?}");
        assert!(!sandbox.home().join("file").exists());
    }
}
