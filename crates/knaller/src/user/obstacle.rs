//! Why this host cannot give a machine a user of its own. The invariant: a machine that has one starts like one that has none;
//! whatever would stop it is found here, before anything of it is there.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{doctor, jail};

/// What is in the way.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// User namespaces are for root alone.
    Namespaces(String),
    /// Others than root cannot run it.
    Program(PathBuf),
    /// Others than root cannot open it.
    Device(PathBuf),
    /// Root may not make devices here.
    Devices(io::Error),
    /// The file system, or the kernel, cannot show root's files as another's.
    Files(PathBuf, io::Error),
    /// A disk that nothing may be done to but use it, which the helper opens by the host's path.
    Disk(PathBuf),
    /// The network's namespace and its device are root's.
    Direct,
    /// Every number is somebody's.
    NoneFree,
    /// It cannot be told which numbers are.
    Accounts(io::Error),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, form: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(form, "a user of its own: ")?;
        match self {
            Self::Namespaces(switch) => write!(form, "{switch}"),
            Self::Program(path) => write!(form, "none but root can run {}", path.display()),
            Self::Device(path) => write!(form, "none but root can open {}", path.display()),
            Self::Devices(error) => write!(form, "devices cannot be made here: {error}"),
            Self::Files(path, error) => write!(
                form,
                "the files at {} cannot be shown as another user's (idmapped mounts): {error}",
                path.display()
            ),
            Self::Disk(path) => write!(form, "its raw disk {} is root's to open", path.display()),
            Self::Direct => write!(form, "the network of mode direct is root's"),
            Self::Accounts(error) => write!(form, "it cannot be seen which users there are: {error}"),
            Self::NoneFree => write!(form, "every number of KNALLER_USERS is taken"),
        }
    }
}

impl Obstacle {
    /// The first that is found. `programs` are what the user is to run by the host's paths, `files` what root has for
    /// the machine, one path of each file system.
    pub(crate) fn find(programs: &[&Path], devices: &[&Path], files: &[PathBuf]) -> Option<Self> {
        if let Some((switch, _)) = doctor::namespaces::culprit(Path::new("/proc/sys")) {
            return Some(Self::Namespaces(switch));
        }
        if let Some(program) = programs.iter().find(|path| !jail::others_may(path, 0o5)) {
            return Some(Self::Program(program.to_path_buf()));
        }
        if let Some(device) = devices.iter().find(|path| !opens(path)) {
            return Some(Self::Device(device.to_path_buf()));
        }
        if let Err(error) = jail::can_make_devices() {
            return Some(Self::Devices(error));
        }
        files
            .iter()
            .find_map(|path| Some(Self::Files(path.clone(), jail::can_show(path).err()?)))
    }
}

/// A device that is not there is missed by others.
fn opens(device: &Path) -> bool {
    device
        .metadata()
        .map_or(true, |found| found.permissions().mode() & 0o6 == 0o6)
}
