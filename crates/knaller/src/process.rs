//! The processes of a boot. The invariant: a process is known by its user and its machine's instance id, which has its place in
//! the command line of pasta, of the helper and of the VMM ([`boot`]), and it is signalled only through a pidfd whose command
//! line was read after it was opened; so never one that merely has the number, or merely mentions the id.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::readable;
use crate::user::UserRange;

mod boot;

pub(crate) use boot::Boot;

/// A process that is held by its descriptor: the number cannot be another's as long as this exists.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    handle: OwnedFd,
}

/// The processes of this boot that exist now.
pub(crate) fn of(boot: &Boot) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for pid in others()? {
        if boot.has(pid)?
            && let Some(handle) = hold(pid)?
            && boot.has(pid)?
        {
            found.push(Process { pid, handle });
        }
    }
    Ok(found)
}

/// As [`of`], for many boots with one look at the host's processes: those that have any, by their instance id.
pub(crate) fn of_each(boots: &HashSet<Boot>) -> io::Result<HashMap<String, Vec<Process>>> {
    let boots: HashMap<&[u8], &Boot> = boots
        .iter()
        .map(|boot| (boot.instance.as_bytes(), boot))
        .collect();
    let mut found: HashMap<String, Vec<Process>> = HashMap::new();
    for pid in others()? {
        let line = boot::command_line(pid)?;
        let Some(boot) = boot::instance(&boot::words(&line)).and_then(|id| boots.get(id)) else {
            continue;
        };
        if let Some(handle) = hold(pid)?
            && boot.has(pid)?
        {
            let process = Process { pid, handle };
            found.entry(boot.instance.clone()).or_default().push(process);
        }
    }
    Ok(found)
}

/// Who listens on a Unix socket, if that is a process of this boot.
pub(crate) fn listening(socket: &Path, boot: &Boot) -> io::Result<Option<Process>> {
    let Some(pid) = listener(socket)? else {
        return Ok(None);
    };
    let held = hold(pid)?.filter(|_| boot.has(pid).unwrap_or(false));
    Ok(held.map(|handle| Process { pid, handle }))
}

/// The boot whose VMM listens on this socket, as its command line has it. `users` are those that root's machines may have.
pub(crate) fn boot_behind(socket: &Path, users: UserRange) -> io::Result<Option<Boot>> {
    let Some(pid) = listener(socket)? else {
        return Ok(None);
    };
    Ok(Boot::behind(pid, users)?.map(|(boot, _)| boot))
}

/// The processes, by their numbers, whose command lines say that their machine's API socket is below this folder, and of which
/// boots they are. To be looked at, not to be signalled.
pub(crate) fn with_sockets_below(folder: &Path, users: UserRange) -> io::Result<Vec<(Pid, Boot)>> {
    let mut found = Vec::new();
    for pid in others()? {
        if let Some((boot, socket)) = Boot::behind(pid, users)?
            && Path::new(OsStr::from_bytes(&socket)).starts_with(folder)
        {
            found.push((pid, boot));
        }
    }
    Ok(found)
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
pub(crate) fn family(boot: &Boot) -> io::Result<Vec<Pid>> {
    let mut roots = BTreeSet::new();
    for pid in others()? {
        if boot.has(pid)? {
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

/// Kills every process of this boot and waits until none is left; whether that came about in time.
pub(crate) fn end(boot: &Boot, patience: Duration) -> io::Result<bool> {
    let until = Instant::now() + patience;
    loop {
        let processes = of(boot)?;
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
        let line = boot::command_line(self.pid)?;
        let words = boot::words(&line).into_iter();
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

#[cfg(fuzzing)]
pub(crate) fn fuzz_command_line(line: &[u8]) {
    let _ = boot::instance(&boot::words(line));
}

/// Processes that are taken for a boot's by those who test what becomes of these.
#[cfg(test)]
pub(crate) mod stand_in {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    /// A shell with a VMM's command line. It does what comes by its standard input, and ends when that does.
    pub(crate) fn vmm(socket: &Path, instance: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-s", "vmm", "--api-sock"])
            .arg(socket)
            .args(["--id", instance])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// Starts it and waits until it has its command line: a moment after it has become its program. `first` is what it does
    /// before it waits for the end of its input.
    pub(crate) fn start(mut command: Command, first: &str) -> Child {
        let mut child = command.spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{first}\necho").unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        child
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn boot() -> Boot {
        Boot {
            instance: uuid::Uuid::new_v4().to_string(),
            user: None,
        }
    }

    fn vmm(boot: &Boot) -> Child {
        let command = stand_in::vmm(Path::new("/run/x/api.sock"), &boot.instance);
        stand_in::start(command, ":")
    }

    #[test]
    fn only_processes_of_the_boot_end() {
        let (mine, other) = (boot(), boot());
        let mut children = [vmm(&mine), vmm(&mine)];
        let mut stranger = vmm(&other);
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
    fn who_mentions_a_boot_or_is_another_users_is_none_of_it() {
        use std::os::unix::process::CommandExt as _;

        let boot = boot();
        let mut reader = Command::new("sh");
        reader
            .args(["-c", "echo; echo; read line", "x", "--id", &boot.instance])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut strangers = vec![stand_in::start(reader, ":")];
        if rustix::process::geteuid().is_root() {
            let mut nobodys = stand_in::vmm(Path::new("/run/x/api.sock"), &boot.instance);
            nobodys.uid(65_534).gid(65_534);
            strangers.push(stand_in::start(nobodys, ":"));
            // But it is for a machine that has this user for itself.
            let of_nobody = Boot {
                user: Some(65_534),
                ..boot.clone()
            };
            assert_eq!(of(&of_nobody).unwrap().len(), 1);
        }
        assert!(of(&boot).unwrap().is_empty() && family(&boot).unwrap().is_empty());
        assert!(of_each(&HashSet::from([boot.clone()])).unwrap().is_empty());
        assert!(end(&boot, Duration::ZERO).unwrap());
        for stranger in &mut strangers {
            drop(stranger.stdin.take());
            assert!(stranger.wait().unwrap().code().is_some(), "it was killed");
        }
    }

    #[test]
    fn of_many_boots_each_has_its_own() {
        let boots = [boot(), boot(), boot()];
        let mut children = [vmm(&boots[0]), vmm(&boots[1])];
        let found = of_each(&boots.iter().cloned().collect()).unwrap();
        assert_eq!(found.len(), 2);
        for (child, boot) in children.iter().zip(&boots) {
            let [process] = found[&boot.instance].as_slice() else {
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
    fn of_those_with_their_sockets_below_a_folder_none_is_beside_it() {
        let boot = boot();
        let mut child = stand_in::start(
            stand_in::vmm(Path::new("/run/some/web/api.sock"), &boot.instance),
            ":",
        );
        let below = |folder: &str| {
            let found = with_sockets_below(Path::new(folder), UserRange::default()).unwrap();
            found.into_iter().any(|(_, of)| of == boot)
        };
        assert!(below("/run/some"));
        assert!(!below("/run/so") && !below("/run/some/we"));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn when_a_process_began() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 250 20";
        assert_eq!(began(stat, 100), Some(Duration::from_millis(2500)));
        assert_eq!(began("7 (a) S 1", 100), None);
    }
}
