//! What a test may have left behind, found by its sandbox's path or mark in what the kernel tells of processes,
//! mounts and sockets.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

/// One thing that should be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leak {
    /// A process: its id and command line.
    Process(i32, String),
    /// A mount point, in this mount namespace.
    Mount(String),
    /// A bound Unix socket.
    Socket(String),
    /// A file or folder of a VM.
    Path(PathBuf),
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid, line) => write!(f, "process {pid}: {line}"),
            Self::Mount(point) => write!(f, "mount {point}"),
            Self::Socket(path) => write!(f, "socket {path}"),
            Self::Path(path) => write!(f, "path {}", path.display()),
        }
    }
}

/// A process that belongs to a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// The words it was started with, blanks between them.
    pub line: String,
}

impl Process {
    /// The last part of the path it was started by.
    #[must_use]
    pub fn program(&self) -> &str {
        let path = self.line.split(' ').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    /// Ends it at once.
    pub fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Processes, other than this one, that carry the sandbox's path in their command line, environment, working folder or
/// an open file; and mounts and sockets below it.
pub(crate) fn find(sandbox: &Path) -> Vec<Leak> {
    let mut leaks: Vec<_> = processes(sandbox)
        .into_iter()
        .map(|process| Leak::Process(process.pid, process.line))
        .collect();
    let name = sandbox.to_string_lossy();
    for line in std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
    {
        // proc(5): the fifth field is the mount point.
        leaks.extend(
            line.split(' ')
                .nth(4)
                .filter(|point| point.contains(&*name))
                .map(|p| Leak::Mount(p.into())),
        );
    }
    for line in std::fs::read_to_string("/proc/net/unix")
        .unwrap_or_default()
        .lines()
    {
        // A listening socket's line ends with its path; flag 00010000 is __SO_ACCEPTCON.
        let listening = line.split(' ').nth(3) == Some("00010000");
        leaks.extend(
            line.rsplit(' ')
                .next()
                .filter(|p| listening && p.contains(&*name))
                .map(|p| Leak::Socket(p.into())),
        );
    }
    leaks
}

pub(crate) fn processes(sandbox: &Path) -> Vec<Process> {
    let own = rustix::process::getpid();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        if Pid::from_raw(pid) == Some(own) || !belongs(&entry.path(), sandbox) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        found.push(Process { pid, line });
    }
    found
}

fn belongs(process: &Path, sandbox: &Path) -> bool {
    // A zombie holds nothing: whoever is its parent has yet to read its status.
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    if stat
        .rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    {
        return false;
    }
    let needle = sandbox.as_os_str().as_bytes();
    let mentions = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    for file in ["cmdline", "environ"] {
        if std::fs::read(process.join(file)).is_ok_and(|bytes| mentions(&bytes)) {
            return true;
        }
    }
    let links = std::fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    links
        .chain([process.join("cwd")])
        .any(|link| std::fs::read_link(link).is_ok_and(|to| mentions(to.as_os_str().as_bytes())))
}

/// Returns when one of the processes has ended, or after a tenth of a second.
pub(crate) fn wait_for_any(leaks: &[Leak]) {
    let pids = leaks.iter().filter_map(|leak| match leak {
        Leak::Process(pid, _) => Pid::from_raw(*pid),
        _ => None,
    });
    let handles: Vec<_> = pids
        .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect();
    let mut polled: Vec<_> = handles
        .iter()
        .map(|handle| PollFd::new(handle, PollFlags::IN))
        .collect();
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    let _ = poll(&mut polled, Some(&timeout));
}

/// Ends what can be ended, so that one failing test does not spoil the next.
pub(crate) fn end(leaks: &[Leak]) {
    for leak in leaks {
        if let Leak::Process(pid, _) = leak
            && let Some(pid) = Pid::from_raw(*pid)
        {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}
