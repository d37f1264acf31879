//! What a process that carries a port does without: everything but its sockets. The invariant: afterwards it opens no file,
//! runs no program, signals nobody outside, enters no other namespace and, where the kernel has landlock, connects to the
//! guest's port and listens nowhere.

use std::io;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, Scope,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::helper::give_up;
use crate::jail::refuse_calls;

/// The newest interface that is asked for; older kernels do what they can of it.
const NEWEST: ABI = ABI::V6;

/// Descriptors: two for each connection, one for each peer of datagrams.
const FILES: u64 = 1024;

/// Takes all of it away, for good.
pub(crate) fn confine(guest_port: u16) -> io::Result<()> {
    for (resource, ceiling) in [
        (Resource::Nofile, FILES),
        (Resource::Fsize, 0),
        // What it carries is for nobody to find in a core dump.
        (Resource::Core, 0),
    ] {
        let ceiling = Some(getrlimit(resource).maximum.map_or(ceiling, |is| is.min(ceiling)));
        setrlimit(
            resource,
            Rlimit {
                current: ceiling,
                maximum: ceiling,
            },
        )?;
    }
    give_up()?;
    restrict(guest_port).map_err(io::Error::other)?;
    refuse_calls().map_err(io::Error::other)
}

fn restrict(guest_port: u16) -> Result<(), RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(NetPort::new(guest_port, AccessNet::ConnectTcp))?
        .restrict_self()
        .map(drop)
}
