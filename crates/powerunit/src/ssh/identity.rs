//! Acting as a user: for a moment on this thread, and for good in a child process.
//!
//! The invariant: whatever touches a path or a socket in a user's name does so with that user's rights, so that the
//! kernel decides what is allowed. System calls change one thread only (glibc's wrappers would change all), and the
//! closure of [`act_as`] cannot await, so no other task ever runs with the changed rights.

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::users::Identity;

/// Runs `work` with the rights of `identity` and comes back. Where this process is not root it changes nothing.
pub(super) fn act_as<T>(identity: &Identity, work: impl FnOnce() -> T) -> io::Result<T> {
    if identity.user.uid == 0 || !rustix::process::geteuid().is_root() {
        return Ok(work());
    }
    let back = Back {
        groups: rustix::process::getgroups()?,
    };
    set_thread_groups(&groups(identity))?;
    set_thread_res_gid(None, Some(Gid::from_raw(identity.gid)), None)?;
    set_thread_res_uid(None, Some(Uid::from_raw(identity.user.uid)), None)?;
    let result = work();
    drop(back);
    Ok(result)
}

/// Takes root's rights back, also when `work` panics.
struct Back {
    groups: Vec<Gid>,
}

impl Drop for Back {
    fn drop(&mut self) {
        let back = set_thread_res_uid(None, Some(Uid::ROOT), None)
            .and_then(|()| set_thread_res_gid(None, Some(Gid::ROOT), None))
            .and_then(|()| set_thread_groups(&self.groups));
        if back.is_err() {
            // Nothing after this may run with rights that are not known.
            std::process::abort();
        }
    }
}

/// Becomes `identity` for good. For a child process between fork and exec: allocates nothing.
///
/// # Errors
///
/// The system call that failed; the process may be anything between both and must not go on.
pub(super) fn become_for_good(groups: &[Gid], gid: Gid, uid: Uid) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        set_thread_groups(groups)?;
        set_thread_res_gid(Some(gid), Some(gid), Some(gid))?;
        set_thread_res_uid(Some(uid), Some(uid), Some(uid))?;
    }
    Ok(())
}

/// All groups of `identity`, for [`become_for_good`].
pub(super) fn groups(identity: &Identity) -> Vec<Gid> {
    identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::User;

    #[test]
    fn rights_change_and_come_back() {
        let user = User {
            name: "nobody".into(),
            uid: 65534,
            gid: 65534,
            ..User::root()
        };
        let identity = Identity {
            user,
            gid: 65534,
            groups: vec![65534],
        };
        let before = rustix::process::geteuid();
        let inside = act_as(&identity, rustix::process::geteuid).unwrap();
        let expected = if before.is_root() { 65534 } else { before.as_raw() };
        assert_eq!(inside.as_raw(), expected);
        assert_eq!(rustix::process::geteuid(), before);
    }
}
