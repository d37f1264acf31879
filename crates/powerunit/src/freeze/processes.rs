//! Making processes stand still, by the control groups' freezer (Documentation/admin-guide/cgroup-v2.rst, `cgroup.freeze`).
//!
//! The invariant: what stands still can be told from the kernel's own objects, so that whoever is left can let it go
//! on: groups that were frozen here bear [`MARK`]; processes of a group that cannot be frozen as a whole, because this
//! program is in it, are in a group [`HOLDING`] inside it. A group that somebody else has frozen is left as it is.

use std::collections::BTreeSet;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::XattrFlags;

use crate::processes;

/// Where the control groups are; in the root file system and in the initramfs alike.
const ROOT: &str = "/sys/fs/cgroup";

/// The group for processes that must be taken out of their own to be frozen.
const HOLDING: &str = "powerunit-frozen";

/// An extended attribute of the groups that were frozen here, which only root can see.
const MARK: &str = "trusted.powerunit.frozen";

/// How often a group is emptied at most, while processes that are not frozen yet make new ones.
const ROUNDS: usize = 1_000;

/// What does not stand still. The guest goes on to freeze the rest.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the guest's kernel has no freezer for processes at {ROOT} (control groups of version 2)")]
    NoFreezer(#[source] IoError),
    #[error("the processes of the control group {} do not stop", .0.display())]
    Late(PathBuf),
    #[error("process {pid} cannot be moved to a control group that is frozen")]
    Stays {
        pid: i32,
        #[source]
        source: IoError,
    },
    #[error("cannot freeze the control group {}", group.display())]
    Group {
        group: PathBuf,
        #[source]
        source: IoError,
    },
}

/// Freezes every process but those `exempt` and the kernel's own, and waits until `deadline` for them to stand still.
/// Gives what does not.
pub(super) fn freeze(exempt: &[i32], deadline: Instant) -> Vec<Error> {
    let (mut errors, mut frozen) = (Vec::new(), Vec::new());
    let own = own_group();
    for origin in origins(&own) {
        match hold(&origin, exempt, deadline, &mut errors) {
            Ok(holding) => frozen.push(holding),
            // Without the first there is nothing of the kind.
            Err(e) => {
                errors.push(Error::NoFreezer(e));
                return errors;
            }
        }
        for group in groups_in(&origin).filter(|group| !own.starts_with(group)) {
            match freeze_group(&group) {
                Ok(()) => frozen.push(group),
                // It may have been removed just now.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(source) => errors.push(Error::Group { group, source }),
            }
        }
    }
    for group in frozen {
        if !matches!(wait_until_frozen(&group, deadline), Ok(true)) && group.exists() {
            errors.push(Error::Late(group));
        }
    }
    errors
}

/// Lets everything go on that [`freeze`] has stopped, whoever called it. Nothing happens if there is nothing.
pub(super) fn thaw() {
    let own = own_group();
    for origin in origins(&own) {
        for group in groups_in(&origin) {
            if rustix::fs::getxattr(&group, MARK, &mut [0; 1][..]).is_ok() {
                // A group that is gone, or goes on already, needs nothing.
                let _ = put(&group.join("cgroup.freeze"), "0");
                let _ = rustix::fs::removexattr(&group, MARK);
            }
        }
        let holding = origin.join(HOLDING);
        for _ in 0..ROUNDS {
            let held = members(&holding);
            if held.is_empty() {
                break;
            }
            for pid in held {
                // One that has ended meanwhile needs no way back.
                let _ = put(&origin.join("cgroup.procs"), &pid.to_string());
            }
        }
        if std::fs::remove_dir(&holding).is_err() {
            // Somebody could not leave it: it goes on in there.
            let _ = put(&holding.join("cgroup.freeze"), "0");
        }
    }
}

/// Moves the processes of `origin` into a frozen group inside it. They cannot make new ones there, so that at some time
/// none is left.
fn hold(origin: &Path, exempt: &[i32], deadline: Instant, errors: &mut Vec<Error>) -> IoResult<PathBuf> {
    let holding = origin.join(HOLDING);
    match std::fs::create_dir(&holding) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    if let Err(e) = put(&holding.join("cgroup.freeze"), "1") {
        let _ = std::fs::remove_dir(&holding);
        return Err(e);
    }
    let mut left_alone: BTreeSet<i32> = exempt.iter().copied().collect();
    for _ in 0..ROUNDS {
        let found = members(origin)
            .into_iter()
            .filter(|pid| !left_alone.contains(pid));
        let found: Vec<i32> = found.filter(|pid| processes::is_program(*pid)).collect();
        if found.is_empty() || Instant::now() >= deadline {
            break;
        }
        for pid in found {
            match put(&holding.join("cgroup.procs"), &pid.to_string()) {
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                Err(source) => {
                    left_alone.insert(pid);
                    errors.push(Error::Stays { pid, source });
                }
                Ok(()) => {}
            }
        }
    }
    Ok(holding)
}

fn freeze_group(group: &Path) -> IoResult<()> {
    let switch = group.join("cgroup.freeze");
    if std::fs::read_to_string(&switch)?.trim() == "1" {
        return Ok(());
    }
    // The mark first: one without effect does no harm, a group without its mark would never go on.
    rustix::fs::setxattr(group, MARK, b"1", XattrFlags::empty())?;
    put(&switch, "1")
}

/// Whether the group stands still before `deadline`. The kernel announces it (cgroup-v2.rst, `cgroup.events`).
fn wait_until_frozen(group: &Path, deadline: Instant) -> IoResult<bool> {
    let mut events = std::fs::File::open(group.join("cgroup.events"))?;
    let mut text = String::new();
    loop {
        text.clear();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if says_frozen(&text) {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        rustix::event::poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left))?;
    }
}

fn says_frozen(events: &str) -> bool {
    events.lines().any(|line| line == "frozen 1")
}

/// The groups that cannot be frozen as a whole: the root, and this program's own.
fn origins(own: &Path) -> BTreeSet<PathBuf> {
    [PathBuf::from(ROOT), own.to_owned()].into()
}

/// The group this program is in.
fn own_group() -> PathBuf {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Path::new(ROOT).join(group_of(&text))
}

/// The path of the version 2 group in /proc/PID/cgroup (cgroups(7)), relative.
fn group_of(cgroup: &str) -> &str {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"));
    path.unwrap_or_default()
}

/// The groups inside `group`, but for [`HOLDING`].
fn groups_in(group: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != HOLDING)
        .map(|entry| entry.path())
}

fn members(group: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Writes to a file of the kernel's: one that is not there is not made.
fn put(file: &Path, text: &str) -> IoResult<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(file)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_version_2_counts() {
        assert_eq!(
            group_of("12:freezer:/x\n1:name=systemd:/y\n0::/powerunit\n"),
            "powerunit"
        );
        assert_eq!(group_of("0::/\n"), "");
        assert_eq!(group_of("4:memory:/x\n"), "");
    }

    #[test]
    fn a_group_stands_still_when_it_says_so() {
        assert!(says_frozen("populated 1\nfrozen 1\n"));
        assert!(!says_frozen("populated 1\nfrozen 0\n") && !says_frozen(""));
    }

    #[test]
    fn a_folder_that_is_no_control_group_has_no_freezer() {
        let folder = tempfile::tempdir().unwrap();
        let held = hold(folder.path(), &[], Instant::now(), &mut Vec::new());
        assert_eq!(held.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
