//! Limits of the kernel's on a jailed program (getrlimit(2)). The invariant: they are ceilings that no machine of any size
//! comes near, so that they end what runs away and nothing else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Error;

/// Processes and threads of one user namespace, pasta's included: a VMM has a thread per vCPU, at most 32, and some for its
/// devices. Linux counts them per namespace since 5.14; before that there are all of the user's in the number, and it
/// does not count root's (fork(2)), whom the machine's cgroup has to bound.
const PROCESSES: u64 = 1024;

/// Descriptors: each connection by vsock is one.
const FILES: u64 = 16 * 1024;

/// Bytes of one file. Consoles are appended to for as long as a machine lives.
const FILE_SIZE: u64 = 4 << 40;

/// Sets them, never above what there was.
pub(super) fn set() -> Result<(), Error> {
    let ceilings = [
        (Resource::Nproc, PROCESSES),
        (Resource::Nofile, FILES),
        (Resource::Fsize, FILE_SIZE),
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
