//! Sending the helper into the network of a machine that runs. The invariant: when the call is over, so is the errand or its
//! beginning; what stays hangs on nothing of the caller's, and is known by the machine's instance id.

use std::io::{self, IoSlice, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{Scene, failed};
use crate::helper::{ERRAND, Errand};
use crate::user::Switch;
use crate::{Error, Forward, Result, detach};

/// The most descriptors that one errand is handed: the network, the VMM, and a socket for each family.
const MAX_HANDED: usize = 4;

/// Sends the helper, with these descriptors beside the machine's network. `named` is what its process is to be found by.
pub(super) fn run(
    scene: &Scene<'_>,
    errand: &Errand,
    named: Option<Forward>,
    handed: &[BorrowedFd<'_>],
) -> Result<()> {
    let program = scene.options.netns()?;
    let (own, helpers) = UnixStream::pair().map_err(failed("make a line to the helper"))?;
    let mut command = Command::new(&program);
    command
        .args([ERRAND, &scene.record.instance])
        .args(named.map(|forward| forward.to_string()))
        .current_dir("/")
        .env_clear()
        .env("PATH", &scene.options.search_path)
        .envs(
            scene
                .options
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(OwnedFd::from(helpers))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let group = scene
        .record
        .cgroup
        .as_ref()
        .map(|group| group.door())
        .transpose()?;
    let user = scene.record.jail.as_ref().and_then(|jail| jail.user);
    let user = user.map(|id| Switch { id, ports: false });
    let prepare = move || {
        detach::from_caller(group.as_ref(), None)?;
        user.map_or(Ok(()), Switch::take)
    };
    // SAFETY: all of it makes system calls and nothing else, as is right between fork and exec.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn().map_err(Error::io("run", &program))?;
    // The other end of the line is its alone.
    drop(command);
    let handed: Vec<BorrowedFd<'_>> = [scene.network.as_fd()]
        .into_iter()
        .chain(handed.iter().copied())
        .collect();
    // One that ends before it was told says why.
    let told = tell(&own, errand, &handed);
    drop(own);
    let output = child.wait_with_output().map_err(failed("wait for the helper"))?;
    if output.status.success() {
        return told.map_err(failed("tell the helper"));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.trim().trim_start_matches("knaller-netns: ");
    Err(Error::Network {
        reason: if reason.is_empty() {
            format!("the helper ended: {}", output.status)
        } else {
            reason.to_owned()
        },
    })
}

fn tell(mut line: &UnixStream, errand: &Errand, handed: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(errand)?;
    let (first, rest) = text.split_at(1.min(text.len()));
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDED))];
    let mut aside = SendAncillaryBuffer::new(&mut room);
    if !aside.push(SendAncillaryMessage::ScmRights(handed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // They need a byte to come with.
    sendmsg(line, &[IoSlice::new(first)], &mut aside, SendFlags::NOSIGNAL)?;
    line.write_all(rest)
}
