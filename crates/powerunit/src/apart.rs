//! Inits that are made for containers: they must be process 1, and get a namespace to be it in (pid_namespaces(7)).
//!
//! The invariant: the machine's process 1 is never one that may end: what such an init leaves behind is brought to the
//! disk, and how it ended is told, as with every other program. A kernel whose process 1 ends panics.

use std::io::Result;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::launch::Found;

/// The init of s6-overlay (3: `layout/rootfs-overlay/init`; 1 and 2: `builder/overlay-rootfs/init`), and folders that tell it
/// from others of this name.
const INIT: &str = "/init";
const S6_OVERLAY: [&str; 2] = ["/etc/s6-overlay", "/etc/s6/init"];

/// Whether `program` refuses to be any other process than 1.
pub(crate) fn is_needed(program: &Path, look: impl Fn(&Path) -> Found) -> bool {
    program == Path::new(INIT)
        && S6_OVERLAY
            .iter()
            .any(|path| look(Path::new(path)) != Found::Nothing)
}

/// While it lives, what this thread spawns is process 1 of a namespace. One process only: without it there is no second.
#[derive(Debug)]
pub(crate) struct Namespace {
    own: OwnedFd,
}

impl Namespace {
    pub(crate) fn new() -> Result<Self> {
        let own = rustix::fs::open("/proc/self/ns/pid", OFlags::CLOEXEC, Mode::empty())?;
        // What is mounted here is seen there, and the other way round: a login is to find what the init has mounted.
        let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", shared)?;
        // SAFETY: of all that a thread can leave, this is only where its children will be.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID)? };
        Ok(Self { own })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // One's own namespace is never closed to root.
        let _ =
            rustix::thread::move_into_link_name_space(self.own.as_fd(), Some(LinkNameSpaceType::ProcessID));
    }
}

/// Gives the calling process, the first of its namespace, a /proc of its own. For the child between fork and exec: makes system
/// calls only.
pub(crate) fn own_proc() -> Result<()> {
    // SAFETY: a child that was just forked shares its mounts with nobody's assumptions.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    rustix::mount::mount_change(
        c"/proc",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount(c"proc", c"/proc", c"proc", flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_init_is_known_by_what_lies_beside_it() {
        let beside = |there: &'static str| {
            move |path: &Path| match path == Path::new(there) {
                true => Found::Other,
                false => Found::Nothing,
            }
        };
        for folder in S6_OVERLAY {
            assert!(is_needed(Path::new("/init"), beside(folder)));
            assert!(!is_needed(Path::new("/app/init"), beside(folder)));
        }
        assert!(!is_needed(Path::new("/init"), beside("/etc/inittab")));
    }
}
