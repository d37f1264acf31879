//! The end of a group.
//!
//! The invariant: it goes with whatever is still in it, so that nothing of a machine outlives the machine, known by its
//! command line or not.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::folder::OWN;

/// How long the killed processes of a group may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends what is left in a group, and removes it. Blocks.
pub(super) fn remove(group: &Path) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match std::fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        Err(error) if gone(&error) => return Ok(()),
        removed => return removed.map(|()| remove_own(group)),
    }
    // Since Linux 5.14; before, what is in there is known by its command line and is about to end.
    let kill = File::options().write(true).open(group.join("cgroup.kill"));
    match kill.and_then(|mut kill| io::Write::write_all(&mut kill, b"1")) {
        Err(error) if !gone(&error) => return Err(error),
        _ => wait_until_empty(group)?,
    }
    match std::fs::remove_dir(group) {
        Err(error) if gone(&error) => Ok(()),
        removed => removed.map(|()| remove_own(group)),
    }
}

/// Removes the group that held it, if that is of our making and holds no other.
fn remove_own(group: &Path) {
    if let Some(parent) = group.parent().filter(|parent| parent.ends_with(OWN)) {
        let _ = std::fs::remove_dir(parent);
    }
}

/// The kernel announces each change of the file (cgroup-v2: `cgroup.events`, by POLLPRI).
fn wait_until_empty(group: &Path) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    let mut events = File::open(group.join("cgroup.events"))?;
    loop {
        let mut text = String::new();
        io::Seek::rewind(&mut events)?;
        io::Read::read_to_string(&mut events, &mut text)?;
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_goes_with_the_processes_in_it() {
        const NAME: &str = "a_group_goes_with_the_processes_in_it";
        let Some(group) = testkit::ControlGroup::new() else {
            return testkit::skip(NAME, "cgroup v2 that may be written to");
        };
        let own = group.within(OWN).join("x");
        std::fs::create_dir(&own).unwrap();
        let mut child = testkit::inhabitant(&own).unwrap();
        remove(&own).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(!group.folder().join(OWN).exists());
        remove(&own).unwrap();
    }
}
