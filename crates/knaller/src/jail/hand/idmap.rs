//! User namespaces that say who stands for whom in an idmapped mount. No process is in one of them for longer than it takes to
//! open it: a mount keeps what it was made with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

/// The namespaces in which one user stands for the owners of files, one for each owner.
pub(super) struct Maps {
    user: u32,
    made: BTreeMap<(u32, u32), OwnedFd>,
}

impl Maps {
    pub(super) fn new(user: u32) -> Self {
        Self {
            user,
            made: BTreeMap::new(),
        }
    }

    /// For files of this user and group; none where they are the user's anyhow.
    pub(super) fn of(&mut self, owner: (u32, u32)) -> io::Result<Option<&OwnedFd>> {
        if owner == (self.user, self.user) {
            return Ok(None);
        }
        if !self.made.contains_key(&owner) {
            self.made.insert(owner, namespace(owner, self.user)?);
        }
        Ok(self.made.get(&owner))
    }
}

/// A user namespace in which `owner` is `user` (user_namespaces(7); Linux: Documentation/filesystems/idmappings.rst).
fn namespace((owner, group): (u32, u32), user: u32) -> io::Result<OwnedFd> {
    let (waits, holds) = pipe_with(PipeFlags::CLOEXEC)?;
    let flags = libc::c_long::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and a stack clone(2) is fork(2). This process may have other threads, so the child makes
    // system calls and nothing else.
    let child = match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => return Err(io::Error::last_os_error()),
        0 => wait_and_end(&waits),
        number => number,
    };
    let made = (|| {
        let of = |name: &str| format!("/proc/{child}/{name}");
        fs::write(of("uid_map"), format!("{owner} {user} 1"))?;
        fs::write(of("gid_map"), format!("{group} {user} 1"))?;
        Ok(File::open(of("ns/user"))?.into())
    })();
    drop(holds);
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    while let Err(rustix::io::Errno::INTR) = waitpid(pid, WaitOptions::empty()) {}
    made
}

/// The child: it is there until its parent lets go of the pipe's other end, or ends. It keeps nothing else open: of two
/// of them, forked at one time by two threads, each would have the end whose closing the other waits for.
fn wait_and_end(waits: &OwnedFd) -> ! {
    let mut byte = 0_u8;
    let kept = waits.as_raw_fd().unsigned_abs();
    // SAFETY: system calls on this process's own copies of the descriptors and a byte of its own; the process ends
    // here, so that nobody uses the closed ones. close_range(2) is older than idmapped mounts.
    unsafe {
        if let Some(last) = kept.checked_sub(1) {
            libc::syscall(libc::SYS_close_range, 0, last, 0);
        }
        libc::syscall(libc::SYS_close_range, kept + 1, libc::c_uint::MAX, 0);
        libc::read(waits.as_raw_fd(), (&raw mut byte).cast(), 1);
        libc::_exit(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_make_them_at_once() {
        if !testkit::is_root() {
            return testkit::skip("many_threads_make_them_at_once", "root");
        }
        let (told, ended) = std::sync::mpsc::channel();
        for user in 1..=8 {
            let told = told.clone();
            std::thread::spawn(move || {
                for _ in 0..50 {
                    namespace((0, 0), user).unwrap();
                }
                told.send(()).unwrap();
            });
        }
        drop(told);
        for _ in 0..8 {
            ended.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
        }
    }
}
