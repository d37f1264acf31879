//! Becoming a new machine: the guest's end of the second dialogue (see [`guest_protocol`]), and what the host's answer changes.
//!
//! The invariant: nothing of the old machine's can be seen from outside, and no random byte that another machine of the same
//! snapshot draws too is drawn by a process, once [`apply`] is through.

use std::error::Error as StdError;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use guest_protocol::{HostMessage, Network, Renewal};

use super::connections;
use crate::clock;
use crate::dialogue::{Dialogue, Purpose, Refusal};
use crate::init::{entropy, names, network};
use crate::report::Report;

/// Why the host has not said who this machine is.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("the host did not say within {} s who it is", .0.as_secs_f32())]
    Silence(Duration),
    #[error("the host refuses to say who it is: {0}")]
    Refused(String),
    #[error(transparent)]
    Refusal(Refusal),
}

/// Who this machine is.
#[derive(Debug)]
pub(super) enum Answer {
    Renew(Box<Renewal>),
    Unchanged { clock_ns: u64 },
}

/// The host's answer, and where the host hears what comes of it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) answer: Answer,
    pub(super) host: Report,
}

/// Two ends: dropping the first ends an [`ask`] that has the second.
pub(super) fn cancel() -> std::io::Result<(UnixStream, UnixStream)> {
    let (caller, cancelled) = UnixStream::pair()?;
    cancelled.set_nonblocking(true)?;
    Ok((caller, cancelled))
}

/// Asks the host until it answers, at most for `patience`, or until it is `cancelled`.
pub(super) fn ask(init_us: u64, patience: Duration, mut cancelled: &UnixStream) -> Result<Asked, NoAnswer> {
    let until = Instant::now() + patience;
    let mut dialogue = Dialogue::new(init_us, Purpose::Renewal);
    loop {
        let answer = dialogue.advance().map_err(|refusal| match refusal {
            Refusal::Refused(why) => NoAnswer::Refused(why),
            other => NoAnswer::Refusal(other),
        })?;
        if let Some((answer, stream)) = answer {
            let answer = match answer {
                HostMessage::Renew(renewal) => Answer::Renew(renewal),
                HostMessage::Unchanged { clock_ns } => Answer::Unchanged { clock_ns },
                HostMessage::Prepare { .. } | HostMessage::Config(_) | HostMessage::Refused { .. } => {
                    return Err(NoAnswer::Refusal(Refusal::Unasked));
                }
            };
            let mut host = Report::default();
            host.connect(stream);
            return Ok(Asked { answer, host });
        }
        let hung_up = !matches!(cancelled.read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock);
        if hung_up || Instant::now() >= until {
            return Err(NoAnswer::Silence(patience));
        }
        dialogue.wait(Some(cancelled.as_fd()), Some(until));
    }
}

/// What failed, and in which step. The rest is in force.
pub(super) type Failures = Vec<(&'static str, Box<dyn StdError + Send + Sync>)>;

/// Puts all of `renewal` in force but what the SSH server has of it. `before` is what the interfaces were told last;
/// `writable` makes the file systems so.
pub(super) fn apply(renewal: &Renewal, before: Option<&Network>, writable: impl FnOnce()) -> Failures {
    let mut failures = Failures::new();
    let mut note = |step, failure: Option<Box<dyn StdError + Send + Sync>>| {
        failures.extend(failure.map(|failure| (step, failure)));
    };
    // Before all else: what follows may draw from it.
    note("entropy", entropy::credit(&renewal.entropy).err().map(Into::into));
    note("clock", clock::set(renewal.clock_ns).err().map(Into::into));
    note(
        "names",
        names::set_hostname(&renewal.hostname).err().map(Into::into),
    );
    // By what they were made over, which is other from the next step on.
    connections::close(std::process::id().cast_signed());
    if let Some(after) = &renewal.network {
        for e in network::renew(before, after) {
            note("network", Some(e.into()));
        }
    }
    writable();
    let files = names::write_files(&renewal.hostname, renewal.network.as_ref());
    for e in files
        .into_iter()
        .chain(names::write_machine_id(&renewal.machine_id))
    {
        note("names", Some(e.into()));
    }
    failures
}
