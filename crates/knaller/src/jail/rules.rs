//! The plan once more, in landlock's terms (Linux: Documentation/userspace-api/landlock.rst): what a program may open does
//! not hang on its mounts alone. The invariant: nothing is allowed here that the root does not show; what the kernel does
//! not know yet is left out, and a kernel without landlock leaves all of it out.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
    make_bitflags,
};

use super::{Access, Error, Plan};

/// The newest interface that is asked for; older kernels do what they can of it.
const NEWEST: ABI = ABI::V6;

/// Restricts this process for good. Needs no privilege, but that none can be gained any more.
pub(super) fn apply(plan: &Plan) -> Result<(), Error> {
    let everywhere = make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute});
    let mut rules = ruleset()?;
    // Of /proc: the memory of its children, and its own.
    let of_all = [("/", everywhere), ("/proc", AccessFs::WriteFile.into())];
    let of_plan = plan
        .entries
        .iter()
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
        rules = rules
            .add_rule(PathBeneath::new(opened, allowed))
            .map_err(RulesetError::from)?;
    }
    rules.restrict_self().map_err(RulesetError::from)?;
    Ok(())
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
        Access::Device => make_bitflags!(AccessFs::{WriteFile | IoctlDev}),
        Access::Sockets => make_bitflags!(AccessFs::{MakeSock | RemoveFile}),
        Access::Files => make_bitflags!(AccessFs::{MakeReg | RemoveFile | WriteFile | Truncate}),
    }
}
