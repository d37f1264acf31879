//! What `knaller-netns` does in the network of a machine that runs already. The invariant: it is there by what it was handed,
//! not by names or numbers that could be another's by then, and the process that was started ends when the errand is done or,
//! of one that stays, well begun.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::fs::fstat;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::incoming;
use crate::netns::{self, Doors};
use crate::relay::{self, Port};

/// What is to be done, by standard input: with it come the machine's network, a file of /proc, and what else is told below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Errand {
    /// The rules for these ports in place of those before.
    Doors(Doors),
    /// A process that carries a port: with the pidfd of the VMM, with which it ends, and the sockets of the host.
    Carry(Port),
}

/// Does what standard input says.
///
/// # Errors
/// What failed; nothing is left of it then.
pub fn run() -> Result<(), super::Error> {
    let step = super::Error::step;
    let mut ready = child().map_err(step("start a child"))?;
    let (errand, handed): (Errand, _) = incoming::received().map_err(step("what to do"))?;
    let mut handed = handed.into_iter();
    let network = wanted(handed.next()).map_err(step("what to do"))?;
    join(&network).map_err(step("enter the machine's network"))?;
    drop(network);
    match errand {
        Errand::Doors(doors) => {
            netns::renew(&doors)?;
            ready.write_all(&[0]).map_err(step("say that it is done"))
        }
        Errand::Carry(port) => {
            let vmm = wanted(handed.next()).map_err(step("what to do"))?;
            let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null");
            let nowhere = nowhere.map_err(step("open /dev/null"))?;
            let begun = || {
                relay::confine(port.forward.guest_port)?;
                let_go(&nowhere)?;
                ready.write_all(&[0])?;
                drop(ready);
                Ok(())
            };
            relay::carry(port, vmm, handed.collect(), begun).map_err(step("carry a port"))
        }
    }
}

fn wanted(handed: Option<OwnedFd>) -> io::Result<OwnedFd> {
    handed.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Goes on in a child, which has the end of a pipe to say that it is ready. The parent waits for that and ends, with a code
/// of failure if the child ends without a word, which has said why by then. So nobody has to wait for one that stays.
fn child() -> io::Result<File> {
    let (mut hears, ready) = io::pipe()?;
    // SAFETY: there is one thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(OwnedFd::from(ready).into()),
        _ => {
            drop(ready);
            let heard = hears.read_exact(&mut [0]).is_ok();
            // SAFETY: nothing of this process is to be undone; all of it is the child's.
            unsafe { libc::_exit(i32::from(!heard)) }
        }
    }
}

/// Enters a network, by the user namespace that it belongs to if that is another one than this process's: who made it has
/// every right there.
fn join(network: &OwnedFd) -> io::Result<()> {
    // SAFETY: the call takes a descriptor of a namespace, and gives a new one or -1 (ioctl_ns(2)).
    let owner = match unsafe { libc::ioctl(network.as_raw_fd(), libc::NS_GET_USERNS) } {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made it for this process, and nobody else has it.
        owner => unsafe { OwnedFd::from_raw_fd(owner) },
    };
    let (is, own) = (fstat(&owner)?, fstat(File::open("/proc/self/ns/user")?)?);
    if (is.st_dev, is.st_ino) != (own.st_dev, own.st_ino) {
        move_into_link_name_space(owner.as_fd(), Some(LinkNameSpaceType::User))?;
    }
    Ok(move_into_link_name_space(
        network.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}

/// Lets go of whoever started it.
fn let_go(nowhere: &File) -> io::Result<()> {
    rustix::stdio::dup2_stdin(nowhere)?;
    rustix::stdio::dup2_stdout(nowhere)?;
    Ok(rustix::stdio::dup2_stderr(nowhere)?)
}
