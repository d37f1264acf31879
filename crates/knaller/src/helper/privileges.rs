//! What the VMM may not have: privileges, and a life after pasta's. The invariant: after [`give_up`] no program
//! that this process becomes or starts can get any capability back.

use std::io;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitiesSecureBits as Secure, CapabilitySet, CapabilitySets, remove_capability_from_bounding_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
};

/// Ends this process, and what it becomes, when its parent ends (PR_SET_PDEATHSIG, prctl(2)).
pub(super) fn die_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Drops every capability for good. Neither VMM needs one: the TAP has no owner and /dev/kvm is opened by the file's mode.
pub(crate) fn give_up() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // A capability this kernel does not know.
            Err(rustix::io::Errno::INVAL) => {}
            dropped => dropped?,
        }
    }
    // User 0 of the namespace would be given all of them anew by execve (capabilities(7)).
    set_capabilities_secure_bits(
        Secure::NO_ROOT | Secure::NO_ROOT_LOCKED | Secure::NO_SETUID_FIXUP | Secure::NO_SETUID_FIXUP_LOCKED,
    )?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(set_no_new_privs(true)?)
}
