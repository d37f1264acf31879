//! The host's tree of control groups, and the caller's place in it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What to do about a host without cgroup v2.
const REMEDY: &str = "boot the host with systemd.unified_cgroup_hierarchy=1, or, without systemd, with cgroup_no_v1=all and \
                      cgroup2 mounted on /sys/fs/cgroup";

/// Where cgroup v2 is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// The folder of the topmost group that is to be seen.
    pub(super) top: PathBuf,
    /// The folder of the caller's group, at or below the top.
    pub(super) own: PathBuf,
    /// The controllers that cgroup v1 has on this host: v2 cannot have them.
    pub(super) taken: BTreeSet<String>,
}

impl Hierarchy {
    pub(super) fn of_host() -> Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).map_err(Error::io("read", path));
        Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?).ok_or_else(|| {
            Error::Cgroup {
                reason: "this host has no cgroup v2, or this process is in none of its groups".to_owned(),
                remedy: REMEDY.to_owned(),
            }
        })
    }

    /// From /proc/PID/mountinfo and /proc/PID/cgroup (proc_pid_mountinfo(5), cgroups(7)).
    fn parse(mounts: &str, groups: &str) -> Option<Self> {
        let (root, top) = mounts.lines().find_map(mount)?;
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        // A caller that was moved out of its namespace's part of the tree sees `/..`: that is nowhere here.
        let below = Path::new(path).strip_prefix(&root).ok()?;
        if below
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_)))
        {
            return None;
        }
        let taken = groups.lines().filter(|line| !line.starts_with("0::"));
        let taken = taken
            .filter_map(|line| line.split(':').nth(1))
            .flat_map(|controllers| controllers.split(','))
            .filter(|name| !name.is_empty() && !name.starts_with("name="));
        Some(Self {
            own: top.join(below).components().collect(),
            top,
            taken: taken.map(str::to_owned).collect(),
        })
    }

    /// The caller's group and those above it, up to the topmost.
    pub(super) fn own_and_above(&self) -> impl Iterator<Item = &Path> {
        let above = self.own.ancestors();
        above.take_while(move |folder| folder.starts_with(&self.top))
    }

    /// Why the group at `folder` cannot limit with all of `needs`, as an error.
    pub(super) fn lacks(&self, folder: &Path, missing: &BTreeSet<&str>) -> Error {
        let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
        let old: BTreeSet<&str> = missing
            .iter()
            .copied()
            .filter(|name| self.taken.contains(*name))
            .collect();
        if !old.is_empty() {
            return Error::Cgroup {
                reason: format!("cgroup v1 has the controllers {} on this host", list(&old)),
                remedy: REMEDY.to_owned(),
            };
        }
        Error::Cgroup {
            reason: format!(
                "the control group {} does not have the controllers {}",
                folder.display(),
                list(missing)
            ),
            remedy: format!(
                "let systemd delegate them: sudo systemctl edit user@.service, with `[Service]` and `Delegate={}`; or name a group \
                 that has them with KNALLER_CGROUP",
                list(missing).replace(',', "")
            ),
        }
    }
}

/// The root within cgroup v2, and the mount point, of a line that is about it.
fn mount(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    Some((unescape(fields.next()?), unescape(fields.next()?)))
}

/// Blanks, tabs, line breaks and backslashes are written as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() {
            after.get(3..).unwrap_or_default()
        } else {
            after
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIFIED: &str = "24 1 0:5 / /proc rw - proc proc rw\n\
                           30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_callers_group_is_below_the_mount() {
        let group = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope\n";
        let found = Hierarchy::parse(UNIFIED, group).unwrap();
        assert_eq!(found.top, Path::new("/sys/fs/cgroup"));
        assert_eq!(
            found.own,
            Path::new("/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope")
        );
        assert!(found.taken.is_empty());
        let root = Hierarchy::parse(UNIFIED, "0::/\n").unwrap();
        assert_eq!(root.own, root.top);
    }

    #[test]
    fn what_cgroup_v1_has_is_known() {
        let mounts = "31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      32 23 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        let groups = "9:name=systemd:/\n2:cpu,cpuacct:/x\n1:pids:/\n0::/\n";
        let found = Hierarchy::parse(mounts, groups).unwrap();
        assert_eq!(found.taken.iter().collect::<Vec<_>>(), ["cpu", "cpuacct", "pids"]);
        let error = found.lacks(Path::new("/x"), &BTreeSet::from(["cpu", "memory"]));
        assert!(
            error
                .to_string()
                .ends_with("cgroup v1 has the controllers cpu on this host")
        );
        assert!(error.hint().unwrap().contains("unified_cgroup_hierarchy"));
        let error = found.lacks(Path::new("/x"), &BTreeSet::from(["cpuset", "memory"]));
        assert!(
            error
                .to_string()
                .contains("/x does not have the controllers cpuset, memory")
        );
        assert!(error.hint().unwrap().contains("`Delegate=cpuset memory`"));
    }

    #[test]
    fn without_cgroup_v2_or_outside_of_what_is_seen_there_is_none() {
        assert_eq!(
            Hierarchy::parse("24 1 0:5 / /proc rw - proc proc rw\n", "0::/\n"),
            None
        );
        assert_eq!(Hierarchy::parse(UNIFIED, "2:cpu:/\n"), None);
        assert_eq!(Hierarchy::parse(UNIFIED, "0::/../x\n"), None);
        let part = "30 23 0:26 /a /mnt/c\\040d rw - cgroup2 none rw\n";
        assert_eq!(Hierarchy::parse(part, "0::/b\n"), None);
        assert_eq!(
            Hierarchy::parse(part, "0::/a/b\n").unwrap().own,
            Path::new("/mnt/c d/b")
        );
    }

    proptest! {
        #[test]
        fn foreign_lines_never_panic(mounts in "\\PC{0,80}", groups in "\\PC{0,80}") {
            let _ = Hierarchy::parse(&format!("{mounts} - cgroup2 x"), &format!("0::{groups}"));
            let _ = unescape(&mounts);
        }
    }
}
