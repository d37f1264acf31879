//! The processes of a boot. The invariant: a process is known by its machine's instance id, which is part of the command line
//! of pasta, of the helper and of the VMM, and it is signalled only through a pidfd whose command line was read after it
//! was opened; so never one that merely has the number.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::readable;

/// A process that is held by its descriptor: the number cannot be another's as long as this exists.
#[derive(Debug)]
pub(crate) struct Process {
    handle: OwnedFd,
}

/// The processes of this boot that exist now.
pub(crate) fn of(instance: &str) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        if !mentions(pid, instance) || pid == rustix::process::getpid() {
            continue;
        }
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        if mentions(pid, instance) {
            found.push(Process { handle });
        }
    }
    Ok(found)
}

/// The numbers of the processes of this boot that exist now, and of all that they have started. To be looked at, not to be
/// signalled.
pub(crate) fn family(instance: &str) -> io::Result<Vec<Pid>> {
    let numbers = std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let own = rustix::process::getpid();
    let roots = numbers.filter(|pid| *pid != own && mentions(*pid, instance));
    let roots = roots.map(|pid| pid.as_raw_nonzero().get()).collect();
    Ok(with_descendants(roots)
        .into_iter()
        .filter_map(Pid::from_raw)
        .collect())
}

/// `roots` with all that they have started, and so on.
fn with_descendants(roots: BTreeSet<i32>) -> BTreeSet<i32> {
    let mut found = roots.clone();
    let mut look: Vec<i32> = roots.into_iter().collect();
    while let Some(pid) = look.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children
                .split_ascii_whitespace()
                .filter_map(|child| child.parse().ok());
            look.extend(children.filter(|child| found.insert(*child)));
        }
    }
    found
}

/// Whether one of the words of its command line is, or holds, the instance id. A zombie has no command line.
fn mentions(pid: Pid, instance: &str) -> bool {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    let line = std::fs::read(path).unwrap_or_default();
    line.windows(instance.len())
        .any(|window| window == instance.as_bytes())
}

/// Kills every process of this boot and waits until none is left; whether that came about in time.
pub(crate) fn end(instance: &str, patience: Duration) -> io::Result<bool> {
    let until = Instant::now() + patience;
    loop {
        let processes = of(instance)?;
        if processes.is_empty() {
            return Ok(true);
        }
        for process in &processes {
            // One that has ended meanwhile is as good as killed.
            let _ = pidfd_send_signal(&process.handle, Signal::KILL);
        }
        for process in &processes {
            if !process.ended_until(until)? {
                return Ok(false);
            }
        }
    }
}

impl Process {
    /// Blocks until it has ended, or the time is over.
    fn ended_until(&self, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            // A pidfd becomes readable when its process ends (pidfd_open(2)).
            match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns when it has ended.
    pub(crate) async fn ended(self) -> io::Result<()> {
        let handle = readable::watch(self.handle)?;
        handle.readable().await?.retain_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper(instance: &str) -> Child {
        // Reads until its input ends, which it never does while the child is held.
        Command::new("sh")
            .args(["-c", "read line", instance])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }

    #[test]
    fn only_processes_of_the_instance_end() {
        let (mine, other) = (uuid::Uuid::new_v4().to_string(), uuid::Uuid::new_v4().to_string());
        let mut children = [sleeper(&mine), sleeper(&mine)];
        let mut stranger = sleeper(&other);
        assert!(end(&mine, Duration::from_secs(60)).unwrap());
        for child in &mut children {
            assert!(!child.wait().unwrap().success());
        }
        assert_eq!(of(&other).unwrap().len(), 1);
        drop(stranger.stdin.take());
        stranger.wait().unwrap();
        assert!(of(&other).unwrap().is_empty());
    }
}
