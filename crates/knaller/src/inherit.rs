//! Which open files a program that we become or start gets: the three standard ones, and what it is given by name.

use std::io;

/// The first descriptor after standard input, output and error.
const FIRST: libc::c_uint = 3;

/// Sees to it that exec leaves this file open.
pub(crate) fn to_program(file: &std::fs::File) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty())?)
}

/// Sees to it that exec closes every file but the standard ones, whoever opened them. Makes one system call, as is right
/// between fork and exec.
pub(crate) fn standard_files_only() -> io::Result<()> {
    let last = libc::c_uint::MAX;
    // SAFETY: close_range(2) takes two numbers and flags; with CLOEXEC nothing is closed before exec, so that the
    // descriptor by which a parent learns of a failed exec still works.
    match unsafe { libc::syscall(libc::SYS_close_range, FIRST, last, libc::CLOSE_RANGE_CLOEXEC) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // Linux before 5.11: what is inherited then is what somebody failed to mark.
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
            error => Err(error),
        },
    }
}
