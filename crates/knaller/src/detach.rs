//! What a process of a machine's leaves behind on its way, between fork and exec. The invariant: nothing of the
//! caller's reaches it afterwards, and it keeps nothing of the caller's from ending. Makes system calls and nothing
//! else.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::Mode;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::inherit;

/// Leaves all that is the caller's: its control group for the machine's, its network for the one that was made, its
/// session, so that neither its terminal's end nor a Ctrl-C there reaches the machine, and its open files, for a pipe that a
/// machine holds open never comes to its end. What it makes, the VMM's sockets too, is its user's alone, whatever the caller's
/// umask says.
pub(crate) fn from_caller(group: Option<&File>, network: Option<&File>) -> io::Result<()> {
    if let Some(procs) = group {
        // The number 0 is whoever writes it (cgroup-v2: `cgroup.procs`).
        rustix::io::write(procs, b"0")?;
    }
    if let Some(namespace) = network {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    }
    rustix::process::setsid()?;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    inherit::standard_files_only()
}
