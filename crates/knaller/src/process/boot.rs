//! By what a process is known for one of a boot's. The invariant: it belongs to this user, or to the one that root's machine
//! has for itself, and its command line is one that [`crate::start`] or [`crate::network::live`] has made, with the boot's
//! instance id in its place. That somebody's command line has the id in it says nothing: a shell, an editor, whatever looks
//! for it has it too.
//!
//! ```text
//! the VMM      VMM --api-sock SOCKET --id ID …
//! the helper   HELPER ORDERS VMM --api-sock SOCKET --id ID …
//! pasta        PASTA … -- HELPER ORDERS VMM --api-sock SOCKET --id ID …
//! an errand    HELPER errand ID …
//! ```

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, geteuid};

use crate::helper::ERRAND;
use crate::user::UserRange;

/// A boot, as its processes are known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Boot {
    /// The instance id.
    pub(crate) instance: String,
    /// The user that its processes have for themselves alone. This user's own may be of it too: they are until they become it.
    pub(crate) user: Option<u32>,
}

impl Boot {
    /// The boot that a process is of by its command line, and the path of its API socket there; nothing of a process that is
    /// neither this user's nor, where that is root, one of the users' of root's machines.
    pub(super) fn behind(pid: Pid, users: UserRange) -> io::Result<Option<(Self, Vec<u8>)>> {
        let line = command_line(pid)?;
        let Some(of) = machine(&words(&line)) else {
            return Ok(None);
        };
        let own = geteuid().as_raw();
        let user = match owner(pid)? {
            Some(user) if user == own => None,
            Some(user) if own == 0 && (users.first..=users.last).contains(&user) => Some(user),
            _ => return Ok(None),
        };
        let instance = String::from_utf8_lossy(of.instance).into_owned();
        Ok(Some((Self { instance, user }, of.socket.to_vec())))
    }

    /// Whether a process is one of this boot's.
    pub(super) fn has(&self, pid: Pid) -> io::Result<bool> {
        let line = command_line(pid)?;
        if instance(&words(&line)) != Some(self.instance.as_bytes()) {
            return Ok(false);
        }
        let owner = owner(pid)?;
        Ok(owner.is_some_and(|owner| owner == geteuid().as_raw() || Some(owner) == self.user))
    }
}

/// The words of a command line (/proc/PID/cmdline), which end with a NUL each.
pub(super) fn words(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == 0).collect()
}

/// The instance id of the boot that a process with these words is of.
pub(super) fn instance<'a>(words: &[&'a [u8]]) -> Option<&'a [u8]> {
    match words {
        [_, errand, id, ..] if *errand == ERRAND.as_bytes() => Some(id),
        _ => machine(words).map(|machine| machine.instance),
    }
}

/// What pasta, the helper and the VMM have in their command lines.
struct MachineWords<'a> {
    socket: &'a [u8],
    instance: &'a [u8],
}

fn machine<'a>(words: &[&'a [u8]]) -> Option<MachineWords<'a>> {
    // What pasta runs is behind this.
    let from = words
        .iter()
        .position(|word| *word == b"--")
        .map_or(0, |at| at + 1);
    // Behind the VMM's path; behind an interpreter's with an argument, if the VMM is a script (execve(2)); behind the
    // helper's, its orders and the VMM's.
    (1..=3).find_map(|at| match words.get(from + at..from + at + 4)? {
        [b"--api-sock", socket, b"--id", instance] => Some(MachineWords { socket, instance }),
        _ => None,
    })
}

/// Empty for a zombie, for one that is gone, and for one that is another user's and hidden. But who has too many open
/// files to look must not say that there is nobody.
pub(super) fn command_line(pid: Pid) -> io::Result<Vec<u8>> {
    read(pid, "cmdline")
}

/// Whose a process is; nothing of one that is gone or hidden, or on its way from one user to another. Not the owner of its
/// folder: that is root if the process may not be looked into (proc_pid(5)).
fn owner(pid: Pid) -> io::Result<Option<u32>> {
    Ok(user_of(&String::from_utf8_lossy(&read(pid, "status")?)))
}

fn user_of(status: &str) -> Option<u32> {
    let fields = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut users = fields.split_ascii_whitespace();
    let first = users.next()?;
    users
        .all(|user| user == first)
        .then(|| first.parse().ok())
        .flatten()
}

fn read(pid: Pid, file: &str) -> io::Result<Vec<u8>> {
    match std::fs::read(format!("/proc/{}/{file}", pid.as_raw_nonzero())) {
        Ok(text) => Ok(text),
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4fb0f5c0-0d0f-4b6c-9c7e-3f3a5c3f8d11";

    fn of(text: &str) -> Option<String> {
        let line = text.replace("ID", ID).replace(' ', "\0") + "\0";
        let found = instance(&words(line.as_bytes()))?;
        Some(String::from_utf8(found.to_vec()).unwrap())
    }

    #[test]
    fn what_is_started_for_a_boot_is_known_by_its_place() {
        for ours in [
            "/bin/vmm --api-sock /run/x/api.sock --id ID --log-path /x",
            "/bin/sh /opt/vmm --api-sock /run/x/api.sock --id ID",
            "/bin/sh -e /opt/vmm --api-sock /run/x/api.sock --id ID",
            "/lib/knaller-netns {} /bin/vmm --api-sock /run/x/api.sock --id ID",
            "/bin/pasta --quiet --udp-ns none -- /lib/knaller-netns {} /bin/vmm --api-sock /run/x/api.sock --id ID",
            "/lib/knaller-netns errand ID",
            "/lib/knaller-netns errand ID 80:80",
        ] {
            assert_eq!(of(ours).as_deref(), Some(ID), "{ours}");
        }
    }

    #[test]
    fn what_only_mentions_it_is_not() {
        for others in [
            "sh -c x ID",
            "sh -c x --id ID",
            "sh -c x y --api-sock /run/x/api.sock --id ID",
            "grep -r ID /home",
            "tail --id ID",
            "vmm --id ID",
            "vmm --api-sock /run/x/api.sock ID",
            "sh errand ID=80",
            "sh x errand ID",
            "vmm --api-sock",
            "errand ID",
            "",
        ] {
            assert_ne!(of(others).as_deref(), Some(ID), "{others}");
        }
    }

    #[test]
    fn whose_a_process_is() {
        assert_eq!(user_of("Name:\tx\nUid:\t5\t5\t5\t5\nGid:\t6\t6\t6\t6\n"), Some(5));
        assert_eq!(user_of("Uid:\t5\t0\t0\t0\n"), None);
        assert_eq!(user_of("Name:\tUid: 5\n"), None);
        let own = owner(rustix::process::getpid()).unwrap();
        assert_eq!(own, Some(geteuid().as_raw()));
    }
}
