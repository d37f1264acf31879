//! Starting a machine: from a spec to a guest that answers on SSH.
//!
//! ```text
//! claim name ─ reserve ports ─ spawn ─ API answers ─ machine, network ─┐
//!                               └─ disks ─ jail ─ keys ────────────────┼─ drives ─ start ─ hello ─ config ─ … ready
//! ```
//!
//! A warm start loads a kept guest where a cold one says what the machine is, and exchanges the drives; one of a
//! snapshot has its disks first, loads, and renews the guest instead of giving it a config ([`way`]).
//!
//! The invariant: until the last step the start owns everything it made ([`undo`]), after it nobody does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::attendance::Attendance;
use crate::claim::Claim;
use crate::knaller::Inner;
use crate::record::Record;
use crate::snapshot::{self, Clone};
use crate::ssh::control::Control;
use crate::{Error, Machine, MachineSpec, Name, Result, heal, layout, life, list, stop, task};

mod api;
mod boot;
mod clock;
mod configure;
mod dialogue;
mod disks;
mod event;
mod failure;
mod first;
mod gate;
mod given;
mod guest;
mod inside;
mod keys;
mod launch;
pub(crate) mod limits;
mod means;
mod undo;
mod user;
mod way;
mod work;

use boot::Start;
use clock::Clock;
pub(crate) use dialogue::unchanged;
pub use event::{Side, StartEvent, Step, Timeline};
pub(crate) use first::First;
pub(crate) use gate::line;
pub(crate) use guest::clock_ns;
pub(crate) use keys::know;
use means::Means;

/// How far [`crate::Knaller::start`] goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Until the guest has its config: it boots on by itself from there. The earliest end there is, since the config is
    /// handed over by the calling process.
    Config,
    /// Until SSH answers and the guest has said that all is up.
    #[default]
    Ready,
}

/// Options of a start that are not the machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartOptions {
    pub wait: Wait,
    /// Boots the kernel even where a guest of this shape was kept, and keeps none.
    pub cold: bool,
}

/// How long a guest that was frozen may take to go on.
const THAW: Duration = Duration::from_secs(30);

/// How often another generated name is tried.
const NAME_ATTEMPTS: usize = 20;

/// Makes a machine and starts it.
pub(crate) async fn create(
    inner: &Arc<Inner>,
    spec: MachineSpec,
    options: StartOptions,
    observer: &mut (dyn FnMut(StartEvent) + Send),
) -> Result<(Machine, Timeline)> {
    let clock = Clock::new(observer);
    spec.validate()?;
    given::check(&spec)?;
    heal::all(inner).await?;
    let means = Means::gather(inner, &spec, None).await?;
    let (claim, record) = claim(inner, spec).await?;
    let attendance = Attendance::begin(claim.files(), &record.spec)?;
    clock.host("checks", Duration::ZERO);
    let name = record.name.clone();
    let start = Start {
        inner,
        means,
        clock,
        options,
        from: None,
        after: None,
    };
    let timeline = Box::pin(start.boot(claim, record)).await?;
    let machine = Machine::new(Arc::clone(inner), name).attended(attendance);
    Ok((machine, timeline))
}

/// Starts a machine that exists once more; `restarts` is how often that was done since its user did it.
pub(crate) async fn again(
    inner: &Arc<Inner>,
    name: &Name,
    restarts: u32,
    options: StartOptions,
    observer: &mut (dyn FnMut(StartEvent) + Send),
) -> Result<Timeline> {
    let clock = Clock::new(observer);
    heal::one(inner, name).await?;
    let files = layout::files(&inner.options.paths, name);
    let claim = Claim::take(&files, name).await?;
    let record = Record::load(&files.record())?;
    if heal::lives(&files)? {
        return Err(Error::Running(name.clone()));
    }
    if life::is_anothers(&inner.options.paths, name, &files.runtime)? {
        return Err(Error::Busy(name.clone()));
    }
    if restarts > 0 && stop::is_halted(&files, &record) {
        return Err(Error::NotRunning(name.clone()));
    }
    let means = Means::gather(inner, &record.spec, record.image.as_deref()).await?;
    let after = (restarts > 0).then(|| record.instance.clone());
    let mut record = record.again(files.runtime);
    record.restarts = restarts;
    clock.host("checks", Duration::ZERO);
    let start = Start {
        inner,
        means,
        clock,
        options,
        from: None,
        after,
    };
    Box::pin(start.boot(claim, record)).await
}

/// Makes a machine of a snapshot.
pub(crate) async fn clone(
    inner: &Arc<Inner>,
    clone: Clone,
    options: StartOptions,
    observer: &mut (dyn FnMut(StartEvent) + Send),
) -> Result<(Machine, Timeline)> {
    let clock = Clock::new(observer);
    let Clone {
        of,
        spec,
        fits,
        memory,
    } = clone;
    spec.validate()?;
    let image = of.description.record.image.clone();
    let means = Means::gather(inner, &spec, image.as_deref()).await?;
    let (claim, mut record) = claim(inner, spec).await?;
    record.image = image;
    clock.host("checks", Duration::ZERO);
    let since = clock.now();
    let held = Arc::clone(&of);
    let (claim, record) = task::blocking(move |task| {
        match snapshot::copy_disks(&held, claim.files(), &mut record.spec, task) {
            Ok(()) => Ok((claim, record)),
            Err(error) => {
                // What cannot be removed is marked as unfinished: the next command tries again.
                let _ = claim.remove();
                Err(error)
            }
        }
    })
    .await?;
    clock.host("copy of the disks", since);
    let name = record.name.clone();
    let start = Start {
        inner,
        means,
        clock,
        options: StartOptions {
            cold: options.cold || !fits,
            ..options
        },
        from: fits.then_some((of, memory)),
        after: None,
    };
    let timeline = Box::pin(start.boot(claim, record)).await?;
    Ok((Machine::new(Arc::clone(inner), name), timeline))
}

/// Makes machines of one snapshot side by side: all of them, or none.
pub(crate) async fn clones(
    inner: &Arc<Inner>,
    clones: Vec<Clone>,
    options: StartOptions,
    observer: &mut (dyn FnMut(StartEvent) + Send),
) -> Result<Vec<(Machine, Timeline)>> {
    let observer = Mutex::new(observer);
    let one = |spec| async {
        let mut tell = |event| (observer.lock().unwrap_or_else(PoisonError::into_inner))(event);
        clone(inner, spec, options, &mut tell).await
    };
    let results = futures_util::future::join_all(clones.into_iter().map(one)).await;
    let failed = results.iter().any(Result::is_err);
    let mut made = Vec::new();
    let mut first = None;
    for result in results {
        match result {
            Ok((machine, _)) if failed => {
                if let Err(error) = take_back(&machine).await {
                    tracing::warn!(name = %machine.name(), %error, "cannot remove a machine that is not wanted");
                }
            }
            Ok(done) => made.push(done),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(made), Err)
}

/// Removes a machine, whether it still runs or not, or is gone.
async fn take_back(machine: &Machine) -> Result<()> {
    match machine.kill().await {
        Ok(_) | Err(Error::NotRunning(_)) => {}
        Err(Error::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    }
    match machine.remove().await {
        Err(Error::NotFound(_)) => Ok(()),
        removed => removed,
    }
}

/// Lets a frozen guest go on that runs again, by the conversation in which it was frozen or, where the VMM has broken that,
/// when it asks.
pub(crate) async fn thaw(mut control: Control, listener: &UnixListener, name: &Name) -> Result<()> {
    let asked = dialogue::unchanged(listener);
    tokio::pin!(asked);
    let told = async {
        match control.thaw().await {
            Ok(()) => Ok(()),
            // Then it asks.
            Err(error) => {
                tracing::debug!(%error, "the conversation broke");
                std::future::pending().await
            }
        }
    };
    let thawed = async {
        tokio::select! {
            told = told => told,
            asked = &mut asked => asked.map_err(Error::system("let a guest go on")),
        }
    };
    timeout(THAW, thawed).await.unwrap_or_else(|_| {
        Err(Error::Timeout {
            what: format!("the guest of {name}, which was frozen,"),
            after: THAW,
        })
    })
}

/// Claims the spec's name, or one that is free.
async fn claim(inner: &Arc<Inner>, spec: MachineSpec) -> Result<(Claim, Record)> {
    if let Some(name) = spec.name.clone() {
        if let Some(claimed) = try_claim(inner, &spec, &name)? {
            return Ok(claimed);
        }
        let state = list::state(inner, &name).await;
        return Err(Error::NameTaken { name, state });
    }
    for _ in 0..NAME_ATTEMPTS {
        let mut random = [0; 8];
        keys::fill_random(&mut random)?;
        let name = Name::generate(u64::from_le_bytes(random));
        if let Some(claimed) = try_claim(inner, &spec, &name)? {
            return Ok(claimed);
        }
    }
    Err(Error::system("find a free name")(
        std::io::ErrorKind::AlreadyExists.into(),
    ))
}

fn try_claim(inner: &Arc<Inner>, spec: &MachineSpec, name: &Name) -> Result<Option<(Claim, Record)>> {
    let files = layout::files(&inner.options.paths, name);
    layout::check_length(&files)?;
    let spec = MachineSpec {
        name: Some(name.clone()),
        ..spec.clone()
    };
    let record = Record::new(name.clone(), files.runtime.clone(), spec);
    let Some(claim) = Claim::create(files, &record)? else {
        return Ok(None);
    };
    if life::is_anothers(&inner.options.paths, name, &record.runtime)? {
        claim.remove()?;
        return Err(Error::Busy(name.clone()));
    }
    Ok(Some((claim, record)))
}
