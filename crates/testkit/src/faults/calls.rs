//! The system calls that are steps.

use rustix::io::Errno;

/// The errors with which a call can fail on a host that is out of something, or broken.
pub type Fails = &'static [Errno];

/// What a call is about, by the number of its argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Path(usize),
    /// A path beside the descriptor of a folder.
    At(usize),
    Descriptor(usize),
    /// The address of a socket.
    Address(usize),
    /// Neither file nor socket that is there already.
    Nothing,
}

/// A kind of system call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    number: i64,
    pub(super) name: &'static str,
    pub(super) about: About,
    pub(super) changes: bool,
    pub(super) fails: Fails,
}

const fn changes(number: i64, name: &'static str, about: About, fails: Fails) -> Call {
    Call {
        number,
        name,
        about,
        changes: true,
        fails,
    }
}

const fn asks(number: i64, name: &'static str, about: About, fails: Fails) -> Call {
    Call {
        changes: false,
        ..changes(number, name, about, fails)
    }
}

const NEW: Fails = &[Errno::NOSPC, Errno::ACCESS, Errno::IO];
const LESS: Fails = &[Errno::ACCESS, Errno::IO];
const DATA: Fails = &[Errno::NOSPC, Errno::IO];
const BROKEN: Fails = &[Errno::IO];
const FILES: Fails = &[Errno::MFILE];

use About::{Address, At, Descriptor, Nothing, Path};

/// Opening a file, which [`super::decode`] tells apart by its flags.
pub(super) const OPENS_TO_READ: Fails = &[Errno::MFILE, Errno::ACCESS, Errno::IO];
pub(super) const OPENS_TO_WRITE: Fails = &[Errno::MFILE, Errno::ACCESS, Errno::IO, Errno::NOSPC];

const CALLS: [Call; 49] = [
    asks(libc::SYS_open, "open", Path(0), OPENS_TO_READ),
    asks(libc::SYS_openat, "open", At(1), OPENS_TO_READ),
    asks(libc::SYS_read, "read", Descriptor(0), BROKEN),
    asks(libc::SYS_pread64, "read", Descriptor(0), BROKEN),
    asks(libc::SYS_getdents64, "getdents", Descriptor(0), BROKEN),
    asks(libc::SYS_statx, "stat", At(1), LESS),
    asks(libc::SYS_newfstatat, "stat", At(1), LESS),
    asks(libc::SYS_socket, "socket", Nothing, FILES),
    asks(libc::SYS_socketpair, "socketpair", Nothing, FILES),
    asks(libc::SYS_pipe2, "pipe", Nothing, FILES),
    asks(libc::SYS_eventfd2, "eventfd", Nothing, FILES),
    asks(libc::SYS_epoll_create1, "epoll_create", Nothing, FILES),
    asks(libc::SYS_inotify_init1, "inotify_init", Nothing, FILES),
    asks(libc::SYS_pidfd_open, "pidfd_open", Nothing, FILES),
    asks(libc::SYS_inotify_add_watch, "inotify_add_watch", Path(1), DATA),
    changes(libc::SYS_connect, "connect", Address(1), LESS),
    changes(libc::SYS_bind, "bind", Address(1), NEW),
    changes(libc::SYS_sendto, "send", Descriptor(0), &[]),
    changes(libc::SYS_sendmsg, "send", Descriptor(0), &[]),
    changes(libc::SYS_write, "write", Descriptor(0), DATA),
    changes(libc::SYS_writev, "write", Descriptor(0), DATA),
    changes(libc::SYS_pwrite64, "write", Descriptor(0), DATA),
    changes(libc::SYS_truncate, "truncate", Path(0), DATA),
    changes(libc::SYS_ftruncate, "truncate", Descriptor(0), DATA),
    changes(libc::SYS_fallocate, "fallocate", Descriptor(0), DATA),
    changes(libc::SYS_copy_file_range, "copy_file_range", Descriptor(2), DATA),
    changes(libc::SYS_sendfile, "sendfile", Descriptor(0), DATA),
    changes(libc::SYS_ioctl, "ioctl", Descriptor(0), &[]),
    changes(libc::SYS_fsync, "fsync", Descriptor(0), DATA),
    changes(libc::SYS_fdatasync, "fsync", Descriptor(0), DATA),
    changes(libc::SYS_flock, "flock", Descriptor(0), BROKEN),
    changes(libc::SYS_mkdir, "mkdir", Path(0), NEW),
    changes(libc::SYS_mkdirat, "mkdir", At(1), NEW),
    changes(libc::SYS_symlink, "symlink", Path(1), NEW),
    changes(libc::SYS_symlinkat, "symlink", At(2), NEW),
    changes(libc::SYS_link, "link", Path(1), NEW),
    changes(libc::SYS_linkat, "link", At(3), NEW),
    changes(libc::SYS_rename, "rename", Path(1), NEW),
    changes(libc::SYS_renameat, "rename", At(3), NEW),
    changes(libc::SYS_renameat2, "rename", At(3), NEW),
    changes(libc::SYS_unlink, "unlink", Path(0), LESS),
    changes(libc::SYS_unlinkat, "unlink", At(1), LESS),
    changes(libc::SYS_rmdir, "rmdir", Path(0), LESS),
    changes(libc::SYS_chmod, "chmod", Path(0), LESS),
    changes(libc::SYS_fchmod, "chmod", Descriptor(0), LESS),
    changes(libc::SYS_kill, "kill", Nothing, &[]),
    changes(libc::SYS_pidfd_send_signal, "kill", Nothing, &[]),
    changes(libc::SYS_vfork, "fork", Nothing, &[]),
    changes(libc::SYS_fork, "fork", Nothing, &[]),
];

/// What the C library makes processes and threads with, which [`super::decode`] tells apart.
const CLONES: [Call; 2] = [
    changes(libc::SYS_clone, "fork", Nothing, &[]),
    changes(libc::SYS_clone3, "fork", Nothing, &[]),
];

pub(super) fn find(number: u64) -> Option<&'static Call> {
    let mut calls = CALLS.iter().chain(&CLONES);
    calls.find(|call| u64::try_from(call.number) == Ok(number))
}

impl Call {
    pub(super) fn opens(&self) -> bool {
        self.name == "open"
    }

    /// Where the flags of a clone(2) are.
    pub(super) fn clone_flags(&self) -> Option<CloneFlags> {
        match self.number {
            libc::SYS_clone => Some(CloneFlags::First),
            libc::SYS_clone3 => Some(CloneFlags::Behind),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum CloneFlags {
    /// In the first argument.
    First,
    /// In the memory that the first argument points to, at its beginning.
    Behind,
}
