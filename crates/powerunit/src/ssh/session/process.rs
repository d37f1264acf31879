//! Starting a session's program as its user, and what it is connected to.
//!
//! Every descriptor of this process is close-on-exec, so that a program has its three standard ones and no other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Gid, Uid};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};
use tokio::process::Child;

use super::command::Program;
use super::pty::Pty;
use crate::ssh::fd::Fd;
use crate::ssh::identity::{become_for_good, groups};
use crate::users::Identity;

/// This side's ends of a program's standard streams.
#[derive(Debug)]
pub(super) enum Streams {
    Pipes { stdin: Fd, stdout: Fd, stderr: Fd },
    Terminal(Fd),
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Process {
    pub child: Child,
    pub streams: Streams,
    /// The process group that ends with the program, if it is to.
    pub group: Option<Pid>,
}

/// The process group that `child` leads, until it has been waited for.
pub(super) fn group(child: &Child) -> Option<Pid> {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    id.and_then(Pid::from_raw)
}

/// How a login's program is started.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub program: &'a Program,
    pub identity: &'a Identity,
    pub environment: BTreeMap<OsString, OsString>,
}

/// The child's side of what becomes its standard streams.
struct Ends {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Start<'_> {
    /// The command: the leader of its own session, in the user's home.
    pub(super) fn command(self) -> io::Result<Command> {
        let user = &self.identity.user;
        let mut command = Command::new(&self.program.path);
        command
            .arg0(&self.program.argv0)
            .args(&self.program.arguments)
            .env_clear()
            .envs(&self.environment);
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(self.identity.gid));
        let groups = groups(self.identity);
        let home = c_path(&user.home)?;
        let prepare = move || {
            crate::sys::default_signals()?;
            rustix::process::setsid()?;
            become_for_good(&groups, gid, uid)?;
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            // As the user, whose home may be closed to others; who has none starts in the root folder.
            if rustix::process::chdir(home.as_c_str()).is_err() {
                rustix::process::chdir(c"/")?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made: nothing allocates, locks or unwinds.
        unsafe { command.pre_exec(prepare) };
        Ok(command)
    }
}

impl Process {
    /// Starts `command`, which becomes the leader of a session, at the end of a terminal or of pipes.
    pub(super) fn start(mut command: Command, terminal: Option<Pty>) -> io::Result<Self> {
        let (ends, streams) = match terminal {
            Some(pty) => {
                let control = || Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?);
                // SAFETY: a system call, as above; it comes after those that made the session.
                unsafe { command.pre_exec(control) };
                let ends = Ends {
                    stdin: pty.slave.try_clone()?,
                    stdout: pty.slave.try_clone()?,
                    stderr: pty.slave,
                };
                (ends, Streams::Terminal(Fd::new(pty.master)?))
            }
            None => pipes()?,
        };
        command
            .stdin(Stdio::from(ends.stdin))
            .stdout(Stdio::from(ends.stdout))
            .stderr(Stdio::from(ends.stderr));
        let child = tokio::process::Command::from(command).spawn()?;
        Ok(Self {
            child,
            streams,
            group: None,
        })
    }
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt as _;
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}

fn pipes() -> io::Result<(Ends, Streams)> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let (stdin, to_stdin) = pipe()?;
    let (from_stdout, stdout) = pipe()?;
    let (from_stderr, stderr) = pipe()?;
    let streams = Streams::Pipes {
        stdin: Fd::new(to_stdin)?,
        stdout: Fd::new(from_stdout)?,
        stderr: Fd::new(from_stderr)?,
    };
    Ok((
        Ends {
            stdin,
            stdout,
            stderr,
        },
        streams,
    ))
}

/// Signals that a client may send, RFC 4254 section 6.10 without `SIG`, and OpenSSH's `INFO` which Linux has not.
const SIGNALS: [(&str, Signal); 13] = [
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("FPE", Signal::FPE),
    ("HUP", Signal::HUP),
    ("ILL", Signal::ILL),
    ("INT", Signal::INT),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("QUIT", Signal::QUIT),
    ("SEGV", Signal::SEGV),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
];

/// Sends the signal of that name to the process group of `child`. `false`: there is no such signal or process.
pub(super) fn signal(child: &Child, name: &str) -> bool {
    let signal = SIGNALS.iter().find(|(known, _)| *known == name);
    match (signal, group(child)) {
        (Some((_, signal)), Some(group)) => rustix::process::kill_process_group(group, *signal).is_ok(),
        _ => false,
    }
}

/// The name of a signal that killed a program, as RFC 4254 wants it: one of its own, or one with a domain.
pub(super) fn signal_name(number: i32) -> String {
    let known = SIGNALS.iter().find(|(_, signal)| signal.as_raw() == number);
    known.map_or_else(|| format!("{number}@linux"), |(name, _)| (*name).to_owned())
}
