//! Where things are. The invariant: the library looks at no environment variable and no current folder by itself; all of
//! it comes in through [`Options`], and [`Options::from_env`] is the one place that reads the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use images::convert::Limits;

use crate::{Pool, UserRange};

/// The two folders that hold everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Kernels, images and the machines' disks and intents. Made with mode 0700.
    pub data: PathBuf,
    /// The machines' sockets. Short, since a socket's path has at most 107 bytes (unix(7)). Made with mode 0700.
    pub runtime: PathBuf,
}

/// Programs that are not to be looked up: a path each, or `None` for the look-up that its field describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// `firecracker` on the search path.
    pub firecracker: Option<PathBuf>,
    /// `sparkler` beside this program, in `../lib/knaller`, in `/usr/lib/knaller`, on the search path.
    pub sparkler: Option<PathBuf>,
    /// `knaller-netns`, as sparkler.
    pub netns: Option<PathBuf>,
    /// The guest's init: `powerunit`, as sparkler but never on the search path.
    pub powerunit: Option<PathBuf>,
    /// `qemu-system-x86_64` (or of this architecture) on the search path.
    pub qemu: Option<PathBuf>,
    /// `pasta` on the search path.
    pub pasta: Option<PathBuf>,
}

/// What [`crate::Knaller::open`] needs to know of its surroundings.
///
/// ```
/// use knaller::{Options, Paths};
///
/// let paths = Paths { data: "/tmp/demo/data".into(), runtime: "/tmp/demo/run".into() };
/// let options = Options::new(paths);
/// assert_eq!(options.programs.qemu, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub paths: Paths,
    pub programs: Programs,
    /// Folders, separated as in `PATH`, where programs are searched.
    pub search_path: OsString,
    /// The folder of the running program, where its companions are.
    pub beside: Option<PathBuf>,
    /// The folder of a delegated control group (cgroup v2) in which machines that are to be limited get theirs; none: see
    /// [`crate::MachineSpec::limits`].
    pub cgroup: Option<PathBuf>,
    /// The addresses that links to machines of [`crate::Network::Direct`] get; none: a corner of the private ones that is free.
    pub pool: Option<Pool>,
    /// The users that root's machines have, each its own; machines of other users have theirs.
    pub users: UserRange,
    /// What an image may have.
    pub image_limits: Limits,
    /// What a machine's processes get as their environment, beside `PATH`.
    pub environment: Vec<(String, OsString)>,
}

/// What they keep of the caller's environment: where they may put temporary files and what they cache.
const KEPT: [&str; 3] = ["HOME", "TMPDIR", "XDG_CACHE_HOME"];

impl Options {
    /// These folders, the usual search path, no companions beside the program.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        Self {
            paths,
            programs: Programs::default(),
            search_path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            beside: None,
            cgroup: None,
            pool: None,
            users: UserRange::default(),
            image_limits: Limits::default(),
            environment: Vec::new(),
        }
    }

    /// What the environment says: `KNALLER_DATA`, else `XDG_DATA_HOME`/knaller, else `HOME`/.local/share/knaller;
    /// `KNALLER_RUNTIME`, else `XDG_RUNTIME_DIR`/knaller, else `/tmp/knaller-UID`; `PATH`; and the programs named by
    /// `FIRECRACKER`, `SPARKLER`, `QEMU`, `PASTA`, `KNALLER_NETNS` and `KNALLER_POWERUNIT`; `KNALLER_CGROUP`.
    #[must_use]
    pub fn from_env() -> Self {
        let own = std::env::current_exe().ok();
        Self::from_lookup(&|name| std::env::var_os(name), own.as_deref())
    }

    /// As [`Self::from_env`], with the environment and the running program given.
    #[must_use]
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<OsString>, program: Option<&Path>) -> Self {
        let var = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let data = var("KNALLER_DATA")
            .or_else(|| {
                var("XDG_DATA_HOME")
                    .filter(|p| p.is_absolute())
                    .map(|p| p.join("knaller"))
            })
            .or_else(|| var("HOME").map(|home| home.join(".local/share/knaller")))
            .unwrap_or_else(|| PathBuf::from("/var/lib/knaller"));
        let runtime = var("KNALLER_RUNTIME")
            .or_else(|| {
                var("XDG_RUNTIME_DIR")
                    .filter(|p| p.is_absolute())
                    .map(|p| p.join("knaller"))
            })
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/knaller-{}", rustix::process::getuid().as_raw())));
        let defaults = Self::new(Paths { data, runtime });
        Self {
            programs: Programs {
                firecracker: var("FIRECRACKER"),
                sparkler: var("SPARKLER"),
                netns: var("KNALLER_NETNS"),
                powerunit: var("KNALLER_POWERUNIT"),
                qemu: var("QEMU"),
                pasta: var("PASTA"),
            },
            search_path: lookup("PATH").unwrap_or_else(|| defaults.search_path.clone()),
            beside: program.and_then(Path::parent).map(Path::to_owned),
            cgroup: var("KNALLER_CGROUP"),
            environment: KEPT
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), lookup(name)?)))
                .collect(),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)]) -> Options {
        let lookup = |name: &str| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| OsString::from(value))
        };
        Options::from_lookup(&lookup, Some(Path::new("/opt/bin/knaller")))
    }

    #[test]
    fn xdg_is_honoured_only_if_absolute() {
        let paths = from(&[("XDG_DATA_HOME", "/d"), ("XDG_RUNTIME_DIR", "/r"), ("HOME", "/h")]).paths;
        assert_eq!(
            paths,
            Paths {
                data: "/d/knaller".into(),
                runtime: "/r/knaller".into()
            }
        );
        let paths = from(&[("XDG_DATA_HOME", "d"), ("HOME", "/h")]).paths;
        assert_eq!(paths.data, Path::new("/h/.local/share/knaller"));
        assert!(paths.runtime.to_string_lossy().starts_with("/tmp/knaller-"));
    }

    #[test]
    fn an_empty_variable_is_no_variable() {
        let options = from(&[("QEMU", ""), ("PASTA", "/p"), ("KNALLER_DATA", "/k")]);
        assert_eq!(options.programs.qemu, None);
        assert_eq!(options.programs.pasta, Some("/p".into()));
        assert_eq!(options.paths.data, Path::new("/k"));
        assert_eq!(options.beside, Some("/opt/bin".into()));
    }
}
