//! The processes of a boot. The invariant: a process is known by its machine's instance id, which is part of the command line
//! of pasta, of the helper and of the VMM, and it is signalled only through a pidfd whose command line was read after it
//! was opened; so never one that merely has the number.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::doctor::orphans;
use crate::readable;

/// A process that is held by its descriptor: the number cannot be another's as long as this exists.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    handle: OwnedFd,
}

/// The length of an instance id, in bytes: a UUID with its dashes.
const ID: usize = 36;

/// Where its dashes are.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// The processes of this boot that exist now.
pub(crate) fn of(instance: &str) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for pid in others()? {
        if mentions(pid, instance)?
            && let Some(handle) = hold(pid)?
            && mentions(pid, instance)?
        {
            found.push(Process { pid, handle });
        }
    }
    Ok(found)
}

/// As [`of`], for many boots with one look at the host's processes: those that have any, by their instance id.
pub(crate) fn of_each(instances: &HashSet<String>) -> io::Result<HashMap<String, Vec<Process>>> {
    let mut found: HashMap<String, Vec<Process>> = HashMap::new();
    for pid in others()? {
        let line = command_line(pid)?;
        let Some(instance) = ids(&line).find(|id| instances.contains(*id)) else {
            continue;
        };
        if let Some(handle) = hold(pid)?
            && mentions(pid, instance)?
        {
            let process = Process { pid, handle };
            found.entry(instance.to_owned()).or_default().push(process);
        }
    }
    Ok(found)
}

/// Who listens on a Unix socket, if that is a process of this boot.
pub(crate) fn listening(socket: &Path, instance: &str) -> io::Result<Option<Process>> {
    let Some(pid) = listener(socket)? else {
        return Ok(None);
    };
    let held = hold(pid)?.filter(|_| mentions(pid, instance).unwrap_or(false));
    Ok(held.map(|handle| Process { pid, handle }))
}

/// The instance id of the boot whose VMM listens on this socket, as its command line has it.
pub(crate) fn instance_behind(socket: &Path) -> io::Result<Option<String>> {
    let Some(pid) = listener(socket)? else {
        return Ok(None);
    };
    Ok(orphans::instance(&command_line(pid)?, b""))
}

/// The number of whoever listens on a Unix socket.
fn listener(socket: &Path) -> io::Result<Option<Pid>> {
    // Never waits for one that does not accept.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let own = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&own, &SocketAddrUnix::new(socket)?) {
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        connected => connected?,
    }
    // In this process's own numbers (SO_PEERCRED, unix(7)).
    Ok(Some(sockopt::socket_peercred(&own)?.pid))
}

/// The numbers of the processes of this boot that exist now, and of all that they have started. To be looked at, not to be
/// signalled.
pub(crate) fn family(instance: &str) -> io::Result<Vec<Pid>> {
    let mut roots = BTreeSet::new();
    for pid in others()? {
        if mentions(pid, instance)? {
            roots.insert(pid.as_raw_nonzero().get());
        }
    }
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

/// The numbers of all processes but this one.
fn others() -> io::Result<impl Iterator<Item = Pid>> {
    let own = rustix::process::getpid();
    Ok(std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(move |pid| *pid != own))
}

/// A hold on a process, unless it is gone.
fn hold(pid: Pid) -> io::Result<Option<OwnedFd>> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => Ok(None),
        held => Ok(Some(held?)),
    }
}

/// Whether one of the words of its command line is, or holds, the instance id.
fn mentions(pid: Pid, instance: &str) -> io::Result<bool> {
    let line = command_line(pid)?;
    let mut windows = line.windows(instance.len());
    Ok(windows.any(|window| window == instance.as_bytes()))
}

/// Empty for a zombie, for one that is gone, and for one that is another user's and hidden. But who has too many open
/// files to look must not say that there is nobody.
fn command_line(pid: Pid) -> io::Result<Vec<u8>> {
    match std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())) {
        Ok(line) => Ok(line),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What in a command line has the form of an instance id.
fn ids(line: &[u8]) -> impl Iterator<Item = &str> {
    line.windows(ID)
        .filter(|window| DASHES.iter().all(|at| window.get(*at) == Some(&b'-')))
        .filter_map(|window| std::str::from_utf8(window).ok())
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
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How long the host had been up when it began. None if it has ended.
    pub(crate) fn began(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        began(&stat, rustix::param::clock_ticks_per_second())
    }

    /// The words of its command line; none if it has ended.
    pub(crate) fn words(&self) -> io::Result<Vec<String>> {
        let line = command_line(self.pid)?;
        let words = line.split(|byte| *byte == 0);
        Ok(words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect())
    }

    /// The network that it is in.
    pub(crate) fn network(&self) -> io::Result<File> {
        let file = File::open(format!("/proc/{}/ns/net", self.pid()))?;
        // Alive afterwards, so it was its own and not another's with its number.
        if self.has_ended()? {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(file)
    }

    /// Kills it and waits until it is gone; whether that came about in time.
    pub(crate) fn kill(&self, patience: Duration) -> io::Result<bool> {
        // One that has ended meanwhile is as good as killed.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
        self.ended_until(Instant::now() + patience)
    }

    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    pub(crate) fn has_ended(&self) -> io::Result<bool> {
        self.ended_until(Instant::now())
    }

    /// Another hold on the same process.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self {
            pid: self.pid,
            handle: self.handle.try_clone()?,
        })
    }

    /// Blocks until it has ended, or the time is over.
    fn ended_until(&self, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            // A pidfd becomes readable when its process ends (pidfd_open(2)).
            match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
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

/// Field 22 of proc_pid_stat(5), in clock ticks; the name in field 2 may hold anything.
fn began(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(Duration::from_millis(
        ticks.saturating_mul(1000) / ticks_per_second.max(1),
    ))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper(instance: &str) -> Child {
        // Reads until its input ends, which it never does while the child is held.
        let mut child = Command::new("sh")
            .args(["-c", "echo; read line", instance])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Until it has its command line: a moment after it has become its program.
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        child
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

    #[test]
    fn of_many_boots_each_has_its_own() {
        let ids: Vec<String> = (0..3).map(|_| uuid::Uuid::new_v4().to_string()).collect();
        // One has its id in the midst of a word, as pasta's forwards have.
        let mut children = [sleeper(&ids[0]), sleeper(&format!("--id={},x", ids[1]))];
        let wanted: HashSet<String> = ids.iter().cloned().collect();
        let found = of_each(&wanted).unwrap();
        assert_eq!(found.len(), 2);
        for (child, id) in children.iter().zip(&ids) {
            let [process] = found[id].as_slice() else {
                panic!("{found:?}")
            };
            assert_eq!(process.pid(), child.id());
            assert!(!process.has_ended().unwrap());
            assert!(process.began().unwrap() > Duration::ZERO);
        }
        for child in &mut children {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        assert!(
            found
                .values()
                .flatten()
                .all(|process| process.has_ended().unwrap())
        );
    }

    #[test]
    fn when_a_process_began() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 250 20";
        assert_eq!(began(stat, 100), Some(Duration::from_millis(2500)));
        assert_eq!(began("7 (a) S 1", 100), None);
    }
}
