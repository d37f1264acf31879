//! Network namespaces without a process: held by an open file, and gone with the last one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// The one that the thread is in which opens it.
const OWN: &str = "/proc/thread-self/ns/net";

/// Makes one.
pub(super) fn new() -> io::Result<File> {
    on_a_thread(|| {
        // SAFETY: no flag concerns descriptors; the namespace is this thread's alone, which ends here.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        File::open(OWN)
    })?
}

/// Does `work` in one.
pub(super) fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_a_thread(|| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(work())
    })?
}

/// A thread of its own: only that one moves, and it may wait for netlink wherever this one came from.
pub(super) fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("network".to_owned());
        let ended = thread.spawn_scoped(scope, work)?.join();
        ended.map_err(|_| io::Error::other("the thread that works on the network has panicked"))
    })
}
