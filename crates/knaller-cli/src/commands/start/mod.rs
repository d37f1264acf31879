//! `knaller start`: makes a machine and, unless it is to stay in the background, stays with it.

mod args;
mod attached;
mod console;
mod report;
mod transcript;

use std::path::{Path, PathBuf};

use knaller::{
    Kernel, Knaller, Machine, MachineSpec, RestoreSpec, Root, StartEvent, StartOptions, State, Timeline,
    VolumeSource, Wait,
};
use tokio::sync::oneshot;

pub(crate) use args::StartArgs;
pub(super) use args::{
    GuestOptions, MachineOptions, NetworkChoice, NetworkOptions, ShapeOptions, pair, root,
};

use crate::args::limits::warn_of_quota;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use report::Report;

impl StartArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let mut spec = self.spec()?;
        make_absolute(&mut spec)?;
        let stays = !self.detach && !self.no_wait;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        if self.adopt
            && let Some(machine) = self.adoptable(&context.knaller, &spec).await?
        {
            return self.adopt(&context, &machine, signals, stays).await;
        }
        warn_of_quota(context.ui, spec.limits.cpu_quota);
        self.wanted.get(&context, &mut signals, &spec).await?;
        let (named, name) = oneshot::channel();
        let (at_claim, at_end) = if self.verbose {
            (Some(named), None)
        } else {
            (None, Some(named))
        };
        let mut report = Report::new(&context, &self, at_claim);
        let console = tokio::spawn(console::show(context.clone(), name, self.verbose));
        let options = StartOptions {
            wait: if self.no_wait { Wait::Config } else { Wait::Ready },
            cold: self.machine.cold,
        };
        let mut observer = |event| report.event(event);
        let started = tokio::select! {
            started = self.start(&context.knaller, spec, options, &mut observer) => started,
            // Dropping the start undoes it.
            signal = signals.next() => Err(CommandError::Ended(signal)),
        };
        let (machine, timeline) = started.map_err(|error| report.failed(error))?;
        let shown = report.started(&machine, &timeline).await;
        shown.map_err(|error| error.about(&format!("{} runs, but cannot be shown", machine.name())))?;
        if !stays {
            return Ok(0);
        }
        if let Some(named) = at_end.filter(|_| self.has_command()) {
            // A console that ended early is noticed in a moment.
            let _ = named.send(machine.name().clone());
        }
        attached::stay(&context, &machine, signals, console).await
    }
}

impl StartArgs {
    /// In place of a start: with a machine that runs, as if it had been started here.
    async fn adopt(
        &self,
        context: &Context,
        machine: &Machine,
        signals: Signals,
        stays: bool,
    ) -> Result<u8, CommandError> {
        let name = machine.name();
        context.ui.note(format_args!("{name} runs already"));
        if !stays {
            return Ok(0);
        }
        let (named, shown) = oneshot::channel();
        if self.verbose {
            // It is taken in a moment.
            let _ = named.send(name.clone());
        } else {
            drop(named);
        }
        let console = tokio::spawn(console::show(context.clone(), shown, self.verbose));
        attached::stay(context, machine, signals, console).await
    }

    /// A machine that lies stopped and is only called by its name starts again as it is.
    async fn start(
        &self,
        knaller: &Knaller,
        spec: MachineSpec,
        options: StartOptions,
        observer: &mut (dyn FnMut(StartEvent) + Send),
    ) -> Result<(Machine, Timeline), CommandError> {
        if let Some(snapshot) = &self.from_snapshot {
            let mut spec = self.restored(&spec)?;
            spec.cold_fallback = self.cold_fallback;
            spec.memory = self.memory_backend.into();
            let restored = knaller.restore(snapshot, spec, options, observer).await;
            return restored.map_err(|error| match error {
                knaller::Error::SnapshotDamaged { .. } if !self.cold_fallback => CommandError::from(error)
                    .hint("take it anew; or boot its disks, if those are whole, with --cold-fallback"),
                error => error.into(),
            });
        }
        if let Some(machine) = self.stopped(knaller, &spec).await {
            let timeline = machine.start(options, observer).await?;
            return Ok((machine, timeline));
        }
        Ok(knaller.start(spec, options, observer).await?)
    }
}

impl StartArgs {
    /// What a machine of a snapshot may have of its own.
    fn restored(&self, spec: &MachineSpec) -> Result<RestoreSpec, CommandError> {
        let unfit = self.unfit_for_a_snapshot();
        if !unfit.is_empty() {
            return Err(CommandError::usage(format!(
                "a machine of a snapshot is what it was: only its name, --hostname, --mac, --publish, --label, --rm and --track-dirty can be given, not {}",
                unfit.join(", ")
            )));
        }
        let mut own = RestoreSpec::default();
        own.name.clone_from(&spec.name);
        own.hostname.clone_from(&spec.hostname);
        own.mac = spec.mac;
        own.forwards = (!spec.forwards.is_empty()).then(|| spec.forwards.clone());
        own.labels.clone_from(&spec.labels);
        own.remove_on_exit = spec.remove_on_exit;
        own.track_dirty = spec.track_dirty;
        Ok(own)
    }

    async fn stopped(&self, knaller: &Knaller, spec: &MachineSpec) -> Option<Machine> {
        if !self.is_name_alone() {
            return None;
        }
        let machine = knaller.get(spec.name.as_ref()?.as_str()).await.ok()?;
        let info = machine.info().await.ok()?;
        (info.state == State::Stopped).then_some(machine)
    }

    /// The machine that runs, and is to be as it is.
    async fn adoptable(
        &self,
        knaller: &Knaller,
        spec: &MachineSpec,
    ) -> Result<Option<Machine>, CommandError> {
        if !self.is_name_alone() {
            let message = "--adopt is for a machine that there is: it takes its name alone";
            return Err(CommandError::usage(message));
        }
        let Some(name) = &spec.name else { return Ok(None) };
        // One that is gone is not made anew as another.
        let machine = knaller.get(name.as_str()).await?;
        Ok(match machine.info().await?.state {
            State::Running | State::Paused | State::Unresponsive => Some(machine),
            // Nobody knows yet whether it comes up.
            State::Stopped | State::Starting => None,
        })
    }
}

/// Paths in a spec hold whatever folder a later command is called in.
pub(super) fn make_absolute(spec: &mut MachineSpec) -> Result<(), CommandError> {
    if let Root::File(path) | Root::Raw(path) = &mut spec.root {
        *path = absolute(path)?;
    }
    if let Kernel::Path(path) = &mut spec.kernel {
        *path = absolute(path)?;
    }
    for volume in &mut spec.volumes {
        if let VolumeSource::File(path) = &mut volume.source {
            *path = absolute(path)?;
        }
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path)
        .map_err(|error| CommandError::host(format!("cannot find {}", path.display()), &error))
}
