//! The namespaces of a jailed program. The invariant: whichever way a machine starts, its VMM ends up in a user (unless
//! root runs it), mount, PID, network, IPC and UTS namespace that nobody else has but pasta, and is the first process of its
//! PID namespace, so that all it starts ends with it.
//!
//! In pasta's namespaces all that is missing is a mount namespace to build in; without pasta [`apart`] makes
//! everything, but for a network that was made before.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsFd;

use rustix::process::{getegid, geteuid, getpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::Error;

/// What the machine takes its host to be called.
const HOST_NAME: &[u8] = b"knaller";

/// Makes all namespaces anew, but for the network's if it is `connected`, and goes on as the first process in them: a
/// child of this one's parent, to which nobody is left between it and the VMM. Its number outside is written to `tell`
/// by this process, which ends.
pub(crate) fn apart(tell: impl AsFd, connected: bool) -> Result<(), Error> {
    let (user, group) = (geteuid(), getegid());
    let mut wanted = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if !connected {
        wanted |= UnshareFlags::NEWNET;
    }
    // Root has all that it needs, and in a namespace of its own it would still be root to the files of /proc.
    if !user.is_root() {
        wanted |= UnshareFlags::NEWUSER;
    }
    // SAFETY: no flag concerns descriptors, and there is one thread.
    unsafe { unshare_unsafe(wanted) }.map_err(Error::step("make namespaces"))?;
    if !user.is_root() {
        let map = |name: &str, text: String| {
            fs::write(format!("/proc/self/{name}"), text).map_err(Error::step("map its user"))
        };
        map("setgroups", "deny".to_owned())?;
        map("uid_map", format!("0 {} 1", user.as_raw()))?;
        map("gid_map", format!("0 {} 1", group.as_raw()))?;
    }
    match sibling().map_err(Error::step("start the first process of its namespaces"))? {
        None => Ok(()),
        Some(number) => {
            let told = rustix::io::write(tell, format!("{number}\n").as_bytes());
            // SAFETY: the process ends here and nowhere else; nothing of it is to be undone, since all of it is the
            // child's.
            unsafe { libc::_exit(i32::from(told.is_err())) }
        }
    }
}

/// fork(2), but with this process's parent for the child's: its number here, `None` in the child.
fn sibling() -> io::Result<Option<libc::c_long>> {
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and a stack clone(2) is fork(2), and this process has one thread.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        number => Ok(Some(number)),
    }
}

/// Adds what pasta has not made.
pub(super) fn complete() -> Result<(), Error> {
    if getpid().as_raw_nonzero().get() != 1 {
        let text = "it is not the first process of a PID namespace (pasta of 2022 and later makes one)";
        return Err(Error::step("enter it")(io::Error::other(text)));
    }
    let own = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: no flag concerns descriptors, and there is one thread.
    unsafe { unshare_unsafe(own) }.map_err(Error::step("make namespaces"))?;
    rustix::system::sethostname(HOST_NAME).map_err(Error::step("name its host"))
}

/// Forbids user namespaces inside this one, with which a good part of the kernel's faults begins. In one that is not the
/// jail's alone that would forbid it to everybody: there the missing capabilities do.
pub(super) fn allow_no_more() -> Result<(), Error> {
    let switch = fs::OpenOptions::new()
        .write(true)
        .open("/proc/sys/user/max_user_namespaces");
    switch
        .and_then(|mut switch| switch.write_all(b"0"))
        .map_err(Error::step("forbid user namespaces in it"))
}

/// Whether this process is in the host's own user namespace.
pub(super) fn of_host() -> io::Result<bool> {
    Ok(maps_all(&fs::read_to_string("/proc/self/uid_map")?))
}

/// Whether every user is there and is itself: user_namespaces(7), "the initial user namespace".
fn maps_all(map: &str) -> bool {
    let fields: Vec<_> = map.split_ascii_whitespace().collect();
    fields == ["0", "0", "4294967295"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_namespace_is_known_by_its_map() {
        assert!(maps_all("         0          0 4294967295\n"));
        assert!(!maps_all("         0       1000          1\n"));
        assert!(!maps_all("0 0 65536\n0 0 4294967295\n"));
    }
}
