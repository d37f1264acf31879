//! The group that a machine's group is made in: a folder of the cgroup file system that this user may write to.
//!
//! The invariant: a group with processes of its own gives its controllers to no group within (cgroup-v2: "No Internal Process
//! Constraint"; the topmost one of the host is free of that), so no such group is chosen for limits.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::hierarchy::Hierarchy;
use crate::{CpuSet, Error, Result, Slice};

/// The group within one that was not named, which keeps machines apart from what is others', and makes sure of the
/// controllers: nobody can take them from a group that gives them on.
pub(super) const OWN: &str = "knaller";

/// How often a group is made that others remove at the same time.
const ATTEMPTS: usize = 20;

/// A group that others can be made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    folder: PathBuf,
    /// The folder at or above it from which the controllers come down; what is between is made when it is needed.
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
        let from = match (given, slice) {
            (None, None) => return Self::above(hierarchy, needs),
            (Some(given), _) => given,
            (None, Some(_)) => delegated(hierarchy),
        };
        if !from.join("cgroup.procs").is_file() {
            return Err(Error::Cgroup {
                reason: format!("{} is no control group (cgroup v2)", from.display()),
                remedy: "name a folder below the mount of cgroup2 with KNALLER_CGROUP".to_owned(),
            });
        }
        match trouble(hierarchy, from, needs) {
            Some(error) => Err(error),
            None => Ok(Self {
                folder: slice.map_or_else(|| from.to_owned(), |slice| from.join(slice.folder())),
                from: from.to_owned(),
            }),
        }
    }

    /// In the caller's own group, or the nearest above it, that can hold such groups.
    fn above(hierarchy: &Hierarchy, needs: &BTreeSet<&str>) -> Result<Self> {
        let mut nearest = None;
        for folder in hierarchy.own_and_above() {
            let Some(error) = trouble(hierarchy, folder, needs) else {
                return Ok(Self {
                    folder: folder.join(OWN),
                    from: folder.to_owned(),
                });
            };
            // What is wrong with the nearest one is what can be put right.
            nearest = nearest.or(Some(error));
            if !writable(folder) {
                break;
            }
        }
        Err(nearest.unwrap_or_else(|| not_allowed(&hierarchy.own)))
    }

    /// That of a group which is there, with these controllers to be had.
    pub(super) fn of(group: &Path, needs: &BTreeSet<&str>) -> Result<Self> {
        let folder = group.parent().unwrap_or(group);
        let has_all = |above: &&Path| lacked(above, needs).is_empty();
        match folder.ancestors().find(has_all) {
            Some(from) => Ok(Self {
                folder: folder.to_owned(),
                from: from.to_owned(),
            }),
            None => Err(Hierarchy::of_host()?.lacks(folder, &lacked(folder, needs))),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the host's CPUs of these numbers may be used by groups in it. The kernel itself would leave out those that
    /// may not.
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

    /// Makes a group in it that can have these controllers.
    pub(super) fn make(&self, group: &Path, needs: &BTreeSet<&str>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            self.prepare(needs)?;
            match std::fs::create_dir(group) {
                // Whoever removed the last machine in it has just removed it too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                made => return made.map_err(Error::io("make the control group", group)),
            }
        }
        Err(Error::io("make the control group", group)(
            io::ErrorKind::NotFound.into(),
        ))
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

/// Why groups with these controllers cannot be made in it; none if they can.
fn trouble(hierarchy: &Hierarchy, folder: &Path, needs: &BTreeSet<&str>) -> Option<Error> {
    let lacked = lacked(folder, needs);
    if !lacked.is_empty() {
        Some(hierarchy.lacks(folder, &lacked))
    } else if !writable(folder) {
        Some(not_allowed(folder))
    } else if !within_reach(hierarchy, folder) {
        Some(out_of_reach(&hierarchy.own, folder))
    } else if !can_give(folder, needs) {
        Some(busy(folder))
    } else {
        None
    }
}

/// The topmost group that was delegated to this user: the caller's, or one above it. It may not be writable at all.
fn delegated(hierarchy: &Hierarchy) -> &Path {
    let own = hierarchy.own_and_above().take_while(|folder| writable(folder));
    own.last().unwrap_or(&hierarchy.own)
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
    may_write(folder) && may_write(&folder.join("cgroup.procs"))
}

/// Whether this user may move processes there from the caller's group (cgroup-v2: "Delegation Containment").
fn within_reach(hierarchy: &Hierarchy, folder: &Path) -> bool {
    let common = hierarchy.own_and_above().find(|above| folder.starts_with(above));
    common.is_none_or(|common| may_write(&common.join("cgroup.procs")))
}

fn may_write(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

/// Those of these controllers that a group does not have.
fn lacked<'a>(folder: &Path, needs: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    missing(&words(&folder.join("cgroup.controllers")), needs)
}

fn missing<'a>(there: &BTreeSet<String>, needs: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    needs
        .iter()
        .copied()
        .filter(|name| !there.contains(*name))
        .collect()
}

/// The words of a file; none of one that cannot be read.
fn words(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn not_allowed(folder: &Path) -> Error {
    Error::Cgroup {
        reason: format!("this user may not make groups in {}", folder.display()),
        remedy: "run it within a group of your own: systemd-run --user --scope -p Delegate=yes knaller …; or name one with \
                 KNALLER_CGROUP"
            .to_owned(),
    }
}

fn out_of_reach(own: &Path, folder: &Path) -> Error {
    Error::Cgroup {
        reason: format!(
            "this user may not move processes from {} to a group in {}",
            own.display(),
            folder.display()
        ),
        remedy: "run it in a group that was delegated together with that one".to_owned(),
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
        assert_eq!(found("a/b", &["cpu"]).unwrap().folder(), top.join("a/knaller"));
        let error = found("a/b", &["pids"]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("a/b does not have the controllers pids"),
            "{error}"
        );
        std::fs::write(top.join("a/cgroup.procs"), "18\n").unwrap();
        assert_eq!(found("a/b", &["cpu"]).unwrap().folder(), top.join("knaller"));
        // Which has them is seen from a group that is there, too.
        std::fs::create_dir_all(top.join("a/knaller/x")).unwrap();
        let needs = BTreeSet::from(["memory"]);
        let parent = Parent::of(&top.join("a/knaller/x"), &needs).unwrap();
        assert_eq!(parent.from, top.join("a"));
        parent.prepare(&needs).unwrap();
        let given = std::fs::read_to_string(top.join("a/knaller/cgroup.subtree_control")).unwrap();
        assert_eq!(given, "+memory");
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
        for folder in [
            &given,
            &given.join("vms.slice"),
            &given.join("vms.slice/vms-ci.slice"),
        ] {
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
        let parent = Parent::of(&temp.path().join("x"), &BTreeSet::from(["cpuset"])).unwrap();
        parent.check_cpus(&"1".parse().unwrap()).unwrap();
        let error = parent.check_cpus(&"1-2".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("CPU 2 "), "{error}");
        assert_eq!(error.hint().unwrap(), "choose among the CPUs 0-1");
    }
}
