//! From root to a machine's own user, between fork and exec.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// Which user, and with what it may do beyond an ordinary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) id: u32,
    /// Whether it may bind the host's first ports, as root's machines may: pasta does, and gives the right up with its
    /// user namespace.
    pub(crate) ports: bool,
}

impl Switch {
    /// Becomes it, for good. Makes system calls and nothing else.
    pub(crate) fn take(self) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(self.id), Gid::from_raw(self.id));
        set_keep_capabilities(self.ports)?;
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
        if !self.ports {
            return Ok(());
        }
        let ports = CapabilitySet::NET_BIND_SERVICE;
        set_capabilities(
            None,
            CapabilitySets {
                effective: ports,
                permitted: ports,
                inheritable: ports,
            },
        )?;
        Ok(configure_capability_in_ambient_set(ports, true)?)
    }
}
