//! The group that a machine's group is made in: a folder of the cgroup file system that this user may write to.
//!
//! The invariant: a group with processes of its own gives its controllers to no group within (cgroup-v2: "No Internal Process
//! Constraint"; the topmost one of the host is free of that), so no such group is chosen for limits.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};

use super::hierarchy::Hierarchy;
use crate::{CpuSet, Error, Result, Slice};

/// How long the killed processes of a group may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A group that others can be made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    folder: PathBuf,
    /// The folder above it that was there already; what is between is made when it is needed.
    from: PathBuf,
}

impl Parent {
    /// Chooses it, for groups that need these controllers, and makes nothing.
    pub(super) fn find(
        hierarchy: &Hierarchy,
        given: Option<&Path>,
        slice: Option<&Slice>,
        needs: &BTreeSet<&str>,
    ) -> Result<Self> {
        let Some(from) = given.map_or_else(|| slice.map(|_| hierarchy.top.clone()), |path| Some(path.to_owned())) else {
            return Self::above(hierarchy, needs);
        };
        if !from.join("cgroup.procs").is_file() {
            return Err(Error::Cgroup {
                reason: format!("{} is no control group (cgroup v2)", from.display()),
                remedy: "name a folder below the mount of cgroup2 with KNALLER_CGROUP".to_owned(),
            });
        }
        let folder = slice.map_or_else(|| from.clone(), |slice| from.join(slice.folder()));
        let parent = Self {
            from: existing(&folder).to_owned(),
            folder,
        };
        let missing = missing(&words(&parent.from.join("cgroup.controllers")), needs);
        if !missing.is_empty() {
            return Err(hierarchy.lacks(&parent.from, &missing));
        }
        if !writable(&parent.from) {
            return Err(not_allowed(&parent.from));
        }
        if !can_give(&parent.from, needs) {
            return Err(busy(&parent.from));
        }
        Ok(parent)
    }

    /// The caller's own group, or the nearest above it, that can hold such groups.
    fn above(hierarchy: &Hierarchy, needs: &BTreeSet<&str>) -> Result<Self> {
        let mut best = None;
        for folder in hierarchy.own.ancestors() {
            if !folder.starts_with(&hierarchy.top) {
                break;
            }
            let missing = missing(&words(&folder.join("cgroup.controllers")), needs);
            let trouble = if !missing.is_empty() {
                hierarchy.lacks(folder, &missing)
            } else if !writable(folder) {
                not_allowed(folder)
            } else if !can_give(folder, needs) {
                busy(folder)
            } else {
                return Ok(Self::of_folder(folder));
            };
            // What is wrong with the nearest one is what can be put right.
            best = best.or(Some(trouble));
            if !writable(folder) {
                break;
            }
        }
        Err(best.unwrap_or_else(|| not_allowed(&hierarchy.own)))
    }

    /// That of a group which is there.
    pub(super) fn of(group: &Path) -> Self {
        Self::of_folder(group.parent().unwrap_or(group))
    }

    fn of_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            from: folder.to_owned(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether groups in it can have these controllers.
    pub(super) fn require(&self, needs: &BTreeSet<&str>) -> Result<()> {
        let missing = missing(&words(&self.from.join("cgroup.controllers")), needs);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Hierarchy::of_host()?.lacks(&self.from, &missing))
    }

    /// Whether the host's CPUs of these numbers may be used by groups in it. The kernel itself would leave out those that may not.
    pub(super) fn check_cpus(&self, wanted: &CpuSet) -> Result<()> {
        // Where nobody has the controller the file is missing, and all CPUs are everybody's.
        let text = self
            .from
            .ancestors()
            .find_map(|folder| std::fs::read_to_string(folder.join("cpuset.cpus.effective")).ok())
            .or_else(|| std::fs::read_to_string("/sys/devices/system/cpu/online").ok());
        let Some(there) = text.and_then(|text| text.trim().parse::<CpuSet>().ok()) else {
            return Ok(());
        };
        let there_are: BTreeSet<u16> = there.numbers().collect();
        match wanted.numbers().find(|number| !there_are.contains(number)) {
            None => Ok(()),
            Some(number) => Err(Error::Cgroup {
                reason: format!("CPU {number} is not to be had here"),
                remedy: format!("choose among the CPUs {there}"),
            }),
        }
    }

    /// Makes what is not there of it, and lets groups in it have these controllers.
    pub(super) fn prepare(&self, needs: &BTreeSet<&str>) -> Result<()> {
        let way = self.folder.strip_prefix(&self.from).unwrap_or(Path::new(""));
        let mut folder = self.from.clone();
        give(&folder, needs)?;
        for part in way {
            folder.push(part);
            match std::fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("make the control group", &folder)(error));
                }
                _ => give(&folder, needs)?,
            }
        }
        Ok(())
    }
}

/// Lets groups in this one have these controllers.
fn give(folder: &Path, needs: &BTreeSet<&str>) -> Result<()> {
    let path = folder.join("cgroup.subtree_control");
    let missing = missing(&words(&path), needs);
    if missing.is_empty() {
        return Ok(());
    }
    let line: String = missing.iter().map(|name| format!("+{name} ")).collect();
    std::fs::write(&path, line.trim_end()).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => busy(folder),
        io::ErrorKind::PermissionDenied => not_allowed(folder),
        _ => Error::io("write", &path)(error),
    })
}

/// Whether it gives these controllers to groups in it, or would if it were asked.
fn can_give(folder: &Path, needs: &BTreeSet<&str>) -> bool {
    let topmost = !folder.join("cgroup.type").exists();
    let empty = || std::fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|procs| procs.is_empty());
    topmost || missing(&words(&folder.join("cgroup.subtree_control")), needs).is_empty() || empty()
}

/// Whether this user may make groups in it and move processes within it.
fn writable(folder: &Path) -> bool {
    [folder.to_owned(), folder.join("cgroup.procs")]
        .iter()
        .all(|path| access(path, Access::WRITE_OK).is_ok())
}

/// The nearest folder that is there, at or above this one.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|above| above.is_dir()).unwrap_or(folder)
}

fn missing<'a>(there: &BTreeSet<String>, needs: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    needs.iter().copied().filter(|name| !there.contains(*name)).collect()
}

/// The words of a file; none of one that cannot be read.
fn words(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn not_allowed(folder: &Path) -> Error {
    Error::Cgroup {
        reason: format!("this user may not make groups in {}", folder.display()),
        remedy: "run it within a group of your own: systemd-run --user --scope -p Delegate=yes knaller …; or name one with KNALLER_CGROUP"
            .to_owned(),
    }
}

fn busy(folder: &Path) -> Error {
    Error::Cgroup {
        reason: format!(
            "the control group {} has processes of its own, so groups in it can have no limits",
            folder.display()
        ),
        remedy: "name a delegated group without processes with KNALLER_CGROUP".to_owned(),
    }
}

/// Ends what is left in a group, and removes it. Blocks.
pub(super) fn remove(group: &Path) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match std::fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        Err(error) if gone(&error) => return Ok(()),
        removed => return removed,
    }
    // Since Linux 5.14; before, whoever is in there is ended by its own name, and its group goes later.
    match std::fs::write(group.join("cgroup.kill"), "1") {
        Err(error) if !gone(&error) => return Err(error),
        _ => wait_until_empty(group)?,
    }
    match std::fs::remove_dir(group) {
        Err(error) if gone(&error) => Ok(()),
        removed => removed,
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

    /// A folder that looks like a group: what the kernel makes of itself is made by hand.
    fn group(folder: &Path, controllers: &str, given: &str, procs: &str) {
        std::fs::create_dir_all(folder).unwrap();
        for (file, text) in [
            ("cgroup.type", "domain\n"),
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", given),
            ("cgroup.procs", procs),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
        }
    }

    fn hierarchy(top: &Path, own: &str) -> Hierarchy {
        Hierarchy {
            top: top.to_owned(),
            own: top.join(own),
            taken: BTreeSet::new(),
        }
    }

    #[test]
    fn the_nearest_group_that_can_limit_is_chosen() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path();
        group(top, "cpu memory", "cpu memory", "");
        group(&top.join("a"), "cpu memory", "", "");
        group(&top.join("a/b"), "cpu memory", "", "17\n");
        let found = |own: &str, needs: &[&'static str]| {
            let needs = needs.iter().copied().collect();
            Parent::find(&hierarchy(top, own), None, None, &needs)
        };
        // Without a limit the caller's own will do, processes or not.
        assert_eq!(found("a/b", &[]).unwrap().folder(), top.join("a/b"));
        assert_eq!(found("a/b", &["cpu"]).unwrap().folder(), top.join("a"));
        let error = found("a/b", &["pids"]).unwrap_err();
        assert!(error.to_string().contains("a/b does not have the controllers pids"), "{error}");
        std::fs::write(top.join("a/cgroup.procs"), "18\n").unwrap();
        assert_eq!(found("a/b", &["cpu"]).unwrap().folder(), top);
    }

    #[test]
    fn a_slice_is_made_below_the_top_or_the_given_group() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path();
        group(top, "cpu", "cpu", "");
        group(&top.join("mine"), "cpu", "", "");
        let slice: Slice = "vms-ci".parse().unwrap();
        let hierarchy = hierarchy(top, "mine");
        let needs = BTreeSet::from(["cpu"]);
        let parent = Parent::find(&hierarchy, None, Some(&slice), &needs).unwrap();
        assert_eq!(parent.folder(), top.join("vms.slice/vms-ci.slice"));
        assert!(!top.join("vms.slice").exists());
        let given = top.join("mine");
        let parent = Parent::find(&hierarchy, Some(&given), Some(&slice), &needs).unwrap();
        assert_eq!(parent.folder(), given.join("vms.slice/vms-ci.slice"));
        parent.prepare(&needs).unwrap();
        for folder in [&given, &given.join("vms.slice"), &given.join("vms.slice/vms-ci.slice")] {
            let control = std::fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap();
            assert_eq!(control, "+cpu", "{}", folder.display());
        }
        let error = Parent::find(&hierarchy, Some(Path::new("/tmp")), None, &needs).unwrap_err();
        assert!(error.to_string().contains("/tmp is no control group"), "{error}");
    }

    #[test]
    fn cpus_that_are_not_there_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        group(temp.path(), "cpuset", "cpuset", "");
        std::fs::write(temp.path().join("cpuset.cpus.effective"), "0-1\n").unwrap();
        let parent = Parent::of_folder(temp.path());
        parent.check_cpus(&"1".parse().unwrap()).unwrap();
        let error = parent.check_cpus(&"1-2".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("CPU 2 "), "{error}");
        assert_eq!(error.hint().unwrap(), "choose among the CPUs 0-1");
    }
}
