//! Limits of the kernel's on a jailed program (getrlimit(2)). The invariant: they are ceilings that no machine of any size
//! comes near, so that they end what runs away and nothing else.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Error;

/// Processes and threads of one user namespace, pasta's included: a VMM has a thread per vCPU, at most 32, and some for its
/// devices. Linux counts them per namespace since 5.14; before that there are all of the user's in the number, and it
/// does not count root's (fork(2)), whom the machine's cgroup has to bound.
const PROCESSES: u64 = 1024;

/// Descriptors: each connection by vsock is one.
const FILES: u64 = 16 * 1024;

/// Sets them, never above what there was. No file grows beyond `file_size` bytes.
pub(super) fn set(file_size: u64) -> Result<(), Error> {
    let ceilings = [
        (Resource::Nproc, PROCESSES),
        (Resource::Nofile, FILES),
        (Resource::Fsize, file_size),
        // A guest's memory is for nobody to find in a core dump.
        (Resource::Core, 0),
    ];
    for (resource, ceiling) in ceilings {
        let lower = |is: Option<u64>| Some(is.map_or(ceiling, |is| is.min(ceiling)));
        let is = getrlimit(resource);
        let limit = Rlimit {
            current: lower(is.maximum),
            maximum: lower(is.maximum),
        };
        setrlimit(resource, limit).map_err(Error::step("set its limits"))?;
    }
    Ok(())
}

/// Has what would make a file too long fail (EFBIG) and not end the program, whose guest may be the one that writes: a signal
/// that is blocked stays so for the program that this process becomes. Makes system calls and nothing else.
pub(crate) fn fail_instead_of_ending() -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sigset_t`, and the calls write to and read from this one alone.
    let blocked = unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGXFSZ);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut())
    };
    match blocked {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}
