//! What the starting process sends by standard input: JSON, and descriptors that it hands over. For a VMM that is the plan of
//! its jail, with mounts, when the machine's files are there.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::de::DeserializeOwned;

/// The most bytes of it: a VMM has some hundred files in the plan of its jail, each with a path of at most 4 KiB.
const MAX_SIZE: usize = 1 << 20;

/// How much is taken at once.
const PART: usize = 64 << 10;

/// The most descriptors that come with one part (Linux: `SCM_MAX_FD`).
pub(crate) const MAX_AT_ONCE: usize = 253;

/// Reads standard input, a Unix socket, to its end. Nothing comes if the starting process has ended.
pub(super) fn received<T: DeserializeOwned>() -> io::Result<(T, Vec<OwnedFd>)> {
    let (mut text, mut handed) = (Vec::new(), Vec::new());
    let mut part = vec![0; PART];
    loop {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_AT_ONCE))];
        let mut aside = RecvAncillaryBuffer::new(&mut room);
        let got = recvmsg(
            rustix::stdio::stdin(),
            &mut [IoSliceMut::new(&mut part)],
            &mut aside,
            RecvFlags::CMSG_CLOEXEC,
        );
        let got = match got {
            Err(rustix::io::Errno::INTR) => continue,
            got => got?,
        };
        for message in aside.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                handed.extend(files);
            }
        }
        if got.bytes == 0 {
            return Ok((serde_json::from_slice(&text)?, handed));
        }
        text.extend_from_slice(part.get(..got.bytes).unwrap_or_default());
        if text.len() > MAX_SIZE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}
