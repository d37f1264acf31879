//! The plan once more, in landlock's terms (Linux: Documentation/userspace-api/landlock.rst): what a program may open does
//! not hang on its mounts alone. The invariant: nothing is allowed here that the root does not show; what the kernel does
//! not know yet is left out, and a kernel without landlock leaves all of it out.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, Scope, make_bitflags,
};

use super::{Access, Error, Plan};

/// The newest interface that is asked for; older kernels do what they can of it.
const NEWEST: ABI = ABI::V6;

/// Restricts this process for good. Needs no privilege, but that none can be gained any more. Gives what of it this kernel
/// does not have.
pub(super) fn apply(plan: &Plan) -> Result<Option<String>, Error> {
    let everywhere = make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute});
    let mut rules = ruleset()?;
    // Of /proc: the memory of its children, and its own.
    let of_all = [("/", everywhere), ("/proc", AccessFs::WriteFile.into())];
    let of_plan = plan
        .all()
        .map(|entry| (entry.path.as_path(), beyond_reading(entry.access)));
    for (path, allowed) in of_all
        .map(|(path, allowed)| (Path::new(path), allowed))
        .into_iter()
        .chain(of_plan)
    {
        // A device may not be there.
        if allowed.is_empty() || !path.exists() {
            continue;
        }
        let opened = PathFd::new(path).map_err(|error| failed(path, error))?;
        rules = rules.add_rule(PathBeneath::new(opened, allowed))?;
    }
    let done = rules.restrict_self()?;
    Ok(lacking(done.landlock))
}

/// How it begins what a jail is without if the kernel is only older than the newest rules.
const NEWER: &str = "landlock's newer rules";

/// Whether that is all that this lack is: every machine of the host has it until another kernel runs, and the root with only its
/// own files stands. Debian 12 is such a host.
pub(crate) fn is_of_an_older_kernel(lack: &str) -> bool {
    lack.starts_with(NEWER)
}

fn lacking(kernel: LandlockStatus) -> Option<String> {
    match kernel {
        LandlockStatus::NotImplemented => Some(
            "landlock, which this kernel does not have (Linux 5.13, CONFIG_SECURITY_LANDLOCK)".to_owned(),
        ),
        LandlockStatus::NotEnabled => {
            Some("landlock, which is switched off (landlock in lsm= of the kernel's command line)".to_owned())
        }
        LandlockStatus::Available { effective_abi, .. } if effective_abi < NEWEST => Some(format!(
            "{NEWER}: this kernel has version {} of {}",
            effective_abi as i32, NEWEST as i32
        )),
        LandlockStatus::Available { .. } => None,
    }
}

fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        // No rule allows any port: a VMM speaks to its TAP device.
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
}

fn failed(path: &Path, error: PathFdError) -> Error {
    Error::Entry {
        path: path.to_owned(),
        source: io::Error::other(error),
    }
}

fn beyond_reading(access: Access) -> BitFlags<AccessFs> {
    match access {
        Access::Read | Access::Run => BitFlags::empty(),
        Access::Write => make_bitflags!(AccessFs::{WriteFile | Truncate}),
        Access::Device | Access::Disk => make_bitflags!(AccessFs::{WriteFile | IoctlDev}),
        // Its size is asked for by ioctl(2).
        Access::ReadDisk => make_bitflags!(AccessFs::{IoctlDev}),
        Access::Sockets => make_bitflags!(AccessFs::{MakeSock | RemoveFile}),
        Access::Files => make_bitflags!(AccessFs::{WriteFile | Truncate}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_kernel_is_told_from_one_without_landlock() {
        let older = LandlockStatus::Available {
            effective_abi: ABI::V2,
            kernel_abi: None,
        };
        assert!(is_of_an_older_kernel(&lacking(older).unwrap()));
        assert!(!is_of_an_older_kernel(
            &lacking(LandlockStatus::NotEnabled).unwrap()
        ));
        assert!(!is_of_an_older_kernel(
            &lacking(LandlockStatus::NotImplemented).unwrap()
        ));
    }
}
