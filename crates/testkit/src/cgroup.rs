use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a group may be limited with.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// How long killed processes may take to leave.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control group (cgroup v2) of a test's own. Dropped, it and all within it are gone, their processes too.
#[derive(Debug)]
pub struct ControlGroup {
    folder: PathBuf,
}

impl ControlGroup {
    /// An empty one, below the topmost of the host, with those of the controllers cpu, cpuset, memory and pids that there
    /// are. `None` where that cannot be written to, or there is no cgroup v2.
    #[must_use]
    pub fn new() -> Option<Self> {
        let name = tempfile::Builder::new().prefix("pitwall-test-").tempfile().ok()?;
        let top = top()?;
        for controller in CONTROLLERS.into_iter().filter(|name| Self::can(name)) {
            std::fs::write(top.join("cgroup.subtree_control"), format!("+{controller}")).ok()?;
        }
        let folder = top.join(name.path().file_name()?);
        std::fs::create_dir(&folder).ok()?;
        Some(Self { folder })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether groups below the topmost can have this controller.
    #[must_use]
    pub fn can(controller: &str) -> bool {
        let top = top().unwrap_or_default();
        let controllers = std::fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
        controllers
            .split_ascii_whitespace()
            .any(|name| name == controller)
    }

    /// A group within.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn within(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        std::fs::create_dir(&folder).expect("a group in a group of our own");
        folder
    }

    /// Ends all that is in it, and waits until it has.
    ///
    /// # Panics
    /// When that does not come about.
    pub fn kill(&self) {
        kill(&self.folder).expect("a group of our own that can be killed");
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = kill(&self.folder);
        remove(&self.folder);
    }
}

/// Whose group a process is in: the path below the topmost one.
#[must_use]
pub fn control_group_of(pid: u32) -> Option<PathBuf> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(top()?.join(path))
}

/// The mount point of cgroup v2.
fn top() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

fn kill(folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join("cgroup.kill"), "1")?;
    let mut events = File::open(folder.join("cgroup.events"))?;
    let until = Instant::now() + PATIENCE;
    loop {
        let mut text = String::new();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if text.contains("populated 0") {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        let left = Timespec::try_from(left).map_err(std::io::Error::other)?;
        let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left));
    }
}

fn remove(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(folder);
}

/// A process that is in the control group `folder`, and stays until its input ends.
///
/// # Errors
/// It cannot be started, or the group cannot be entered.
pub fn inhabitant(folder: &Path) -> io::Result<Child> {
    let enter = format!("echo 0 > {}/cgroup.procs && exec cat", folder.display());
    let mut child = Command::new("sh")
        .args(["-c", &enter])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(input), Some(output)) = (&mut child.stdin, &mut child.stdout) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    // Once it answers it is in there.
    input.write_all(b"x")?;
    output.read_exact(&mut [0])?;
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_group_ends_with_it() {
        let Some(group) = ControlGroup::new() else {
            return crate::skip(
                "what_is_in_a_group_ends_with_it",
                "cgroup v2 that may be written to",
            );
        };
        let folder = group.within("one");
        let mut child = inhabitant(&folder).unwrap();
        assert_eq!(control_group_of(child.id()), Some(folder.clone()));
        drop(group);
        assert!(!child.wait().unwrap().success());
        assert!(!folder.exists());
    }
}
