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
        0 => wait_and_end(&waits, &holds),
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

/// The child: it is there until its parent lets go of the pipe's other end, or ends.
fn wait_and_end(waits: &OwnedFd, holds: &OwnedFd) -> ! {
    let mut byte = 0_u8;
    // SAFETY: system calls on this process's own copies of the descriptors and a byte of its own; the process ends here, so that
    // nobody uses the closed one.
    unsafe {
        libc::close(holds.as_raw_fd());
        libc::read(waits.as_raw_fd(), (&raw mut byte).cast(), 1);
        libc::_exit(0)
    }
}
