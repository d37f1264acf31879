//! What runs, asked from the VMMs now.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use firecracker_api::Client;
use firecracker_api::models::InstanceState;
use futures_util::{StreamExt as _, stream};
use guest_protocol::control::Health;
use tokio::net::UnixStream;

use crate::claim::Claim;
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::network::{addresses, live};
use crate::record::Record;
use crate::ssh::control;
use crate::{Error, JailInfo, MachineInfo, Name, Network, NextStart, Result, State, damage, folder, heal};

/// How many machines are asked at once: each takes two files of the caller's.
const AT_ONCE: usize = 128;

/// How long a VMM may take to answer before its machine counts as unresponsive.
const PATIENCE: Duration = Duration::from_secs(2);

/// All machines, by name.
pub(crate) async fn all(inner: &Arc<Inner>) -> Result<Vec<MachineInfo>> {
    let mut machines: Vec<_> = each(inner)
        .await?
        .into_iter()
        .filter_map(|(name, info)| match info {
            Ok(info) => Some(info),
            // Gone meanwhile, or told by `damage::machines`.
            Err(Error::NotFound(_) | Error::Record { .. }) => None,
            // One that cannot be asked is no reason not to show the others.
            Err(error) => {
                if damage::machine(inner, &name).is_none() {
                    tracing::warn!(%name, %error, "left out of the list");
                }
                None
            }
        })
        .collect();
    machines.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(machines)
}

/// All machines by the names of their folders, and why nothing is known of some.
pub(crate) async fn each(inner: &Arc<Inner>) -> Result<Vec<(Name, Result<MachineInfo>)>> {
    let names = heal::names(&inner.options.paths)?;
    Ok(stream::iter(names)
        .map(|name| async move {
            let info = one(inner, &name).await;
            (name, info)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await)
}

/// One machine.
pub(crate) async fn one(inner: &Arc<Inner>, name: &Name) -> Result<MachineInfo> {
    let (files, record) = load(inner, name)?;
    let answer = ask(&files, &record).await?;
    let health = match answer.state {
        State::Running if record.checked => health(&files, &record).await,
        _ => None,
    };
    let forwards = match answer.state {
        // They are those of the next start, or of the one that is under way.
        State::Stopped | State::Starting => record.forwards.clone(),
        _ => live::shown(&record)?,
    };
    let addresses = match record.spec.network {
        Network::Pasta | Network::Direct => addresses::guest(record.ipv6),
        Network::None => Vec::new(),
    };
    // What a boot had that is over is of no use to anybody.
    let spec = match answer.state {
        State::Stopped => record.spec.clone(),
        _ => record.current().clone(),
    };
    Ok(MachineInfo {
        next_start: NextStart::between(&spec, &record.spec),
        name: record.name,
        state: answer.state,
        origin: record.origin,
        instance: record.instance,
        vmm: record.vmm,
        jail: record.jail.map(|jail| JailInfo {
            without: jail.without,
            user: jail.user.filter(|_| answer.state != State::Stopped),
        }),
        vmm_version: answer.version,
        pid: answer.pid,
        created: record.created,
        started: record.started,
        restarts: record.restarts,
        spec,
        forwards,
        addresses,
        kernel: record.kernel,
        image: record.image,
        health,
    })
}

/// What the guest's checks have shown, if it says so soon.
async fn health(files: &Files, record: &Record) -> Option<Health> {
    let asked = tokio::time::timeout(PATIENCE, control::status(files, record)).await;
    asked.ok()?.ok()?.health
}

/// A machine's record, and its files where this boot has them.
pub(crate) fn load(inner: &Inner, name: &Name) -> Result<(Files, Record)> {
    let files = layout::files(&inner.options.paths, name);
    let path = files.record();
    let loaded = match Record::load(&path) {
        // A machine comes and goes whole: one that is there without its record is damaged, unless it came just now.
        Err(error) if is_absence(&error) => {
            if !folder::is_one(&files.data) {
                return Err(Error::NotFound(name.to_string()));
            }
            Record::load(&path)
        }
        loaded => loaded,
    };
    let record = loaded?;
    let files = Files {
        runtime: record.runtime.clone(),
        ..files
    };
    Ok((files, record))
}

fn is_absence(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// As [`one`], for a machine that may go at any time.
pub(crate) async fn state(inner: &Arc<Inner>, name: &Name) -> State {
    one(inner, name).await.map_or(State::Stopped, |info| info.state)
}

/// What a machine's API socket says.
pub(crate) struct Answer {
    pub(crate) state: State,
    version: Option<String>,
    /// Whose socket it is.
    pub(crate) pid: Option<u32>,
}

/// Asks the VMM that should be there. One that is of another boot is none.
///
/// # Errors
/// This process cannot ask, and does not know.
pub(crate) async fn ask(files: &Files, record: &Record) -> Result<Answer> {
    let silent = |state| Answer {
        state,
        version: None,
        pid: None,
    };
    let socket = files.api_socket();
    let stream = match UnixStream::connect(&socket).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            // Somebody who holds the claim of a machine without a VMM is about to start it.
            let claimed = matches!(Claim::take_now(files), Ok(None));
            let state = if claimed { State::Starting } else { State::Stopped };
            return Ok(silent(state));
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(silent(State::Unresponsive)),
        Err(error) => return Err(Error::io("reach", &socket)(error)),
    };
    // Who listens, in this process's own numbers (SO_PEERCRED, unix(7)).
    let pid = stream
        .peer_cred()
        .ok()
        .and_then(|peer| u32::try_from(peer.pid()?).ok());
    drop(stream);
    Ok(
        match Client::new(&socket).with_timeout(PATIENCE).get_instance().await {
            Ok(instance) if instance.id != record.instance => silent(State::Stopped),
            Ok(instance) => {
                let state = match instance.state {
                    InstanceState::NotStarted => State::Starting,
                    InstanceState::Running => State::Running,
                    InstanceState::Paused => State::Paused,
                };
                Answer {
                    state,
                    version: Some(instance.vmm_version),
                    pid,
                }
            }
            Err(error) if error.nobody_serves() => silent(State::Stopped),
            Err(_) => Answer {
                state: State::Unresponsive,
                version: None,
                pid,
            },
        },
    )
}

/// Completes an error that a machine is the cause of, and another one than the `victim` if there is one.
pub(crate) async fn blame(inner: &Arc<Inner>, victim: Option<&Name>, error: Error) -> Error {
    let Error::PortTaken {
        bind,
        port,
        protocol,
        by: None,
    } = error
    else {
        return error;
    };
    let names = heal::names(&inner.options.paths).unwrap_or_default();
    let by = names
        .into_iter()
        .filter(|name| Some(name) != victim)
        .find(|name| {
            let holds = |record: &Record| {
                let own = record.forwards.iter().chain(live::of_pasta(record));
                own.into_iter()
                    .any(|f| f.host_port == port && f.protocol == protocol)
            };
            load(inner, name)
                .is_ok_and(|(files, record)| holds(&record) && heal::lives(&files).unwrap_or(true))
        });
    Error::PortTaken {
        bind,
        port,
        protocol,
        by,
    }
}
