//! `knaller run`: a machine for one command.
//!
//! The invariant: when this ends, the machine is gone, and so is what was written to its disk.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;
use knaller::{Machine, MachineSpec, Name, StartEvent, StartOptions, StopOptions};

use super::exec::pty;
use super::image::WantedArgs;
use super::start::{GuestOptions, MachineOptions, NetworkOptions, make_absolute, root};
use crate::args::limits::{LimitOptions, warn_of_quota};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::session::{Attach, attach_with, signals};
use crate::signals::{Signal, Signals};
use crate::terminal;
use crate::ui::Progress;

/// Run a command in a machine of its own, which is gone afterwards
#[derive(Args, Debug)]
#[command(after_help = "\
CMD takes the place of what the image runs, or is given to its entrypoint; without both it is a shell. Standard input, output \
and error are the command's; its exit code is passed on, and signals are. It gets a terminal if all three are one; -t and \
-T decide otherwise. Ports (-p) are forwarded while it runs.

Examples:
  knaller run -it debian:12
  knaller run debian:12 sh -c 'apt-get update && apt-get --simulate upgrade'
  knaller run python:3 python -c 'print(6 * 7)'
  tar c . | knaller run -T alpine tar tv")]
pub(crate) struct RunArgs {
    /// The image: its name or id; `builtin` is BusyBox
    #[arg(value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new(), add = ArgValueCandidates::new(complete::roots))]
    image: String,

    /// The command, as it is: no shell of yours or the guest's takes it apart
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,

    /// The machine's name while it is there; two words are made up if there is none
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,

    /// Attach standard input; it always is
    #[arg(short, long)]
    interactive: bool,

    /// Give the command a terminal
    #[arg(short, long, overrides_with = "no_tty")]
    tty: bool,

    /// Give the command no terminal
    #[arg(short = 'T', long, overrides_with = "tty")]
    no_tty: bool,

    /// Remove the machine afterwards; it always is
    #[arg(long, hide = true)]
    rm: bool,

    #[command(flatten, next_help_heading = "Machine")]
    wanted: WantedArgs,

    #[command(flatten, next_help_heading = "Machine")]
    machine: MachineOptions,

    #[command(flatten, next_help_heading = "Guest")]
    guest: GuestOptions,

    #[command(flatten, next_help_heading = "Network")]
    network: NetworkOptions,

    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitOptions,
}

impl RunArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let spec = self.spec()?;
        let mut signals = signals()?;
        let mut endings = Signals::watch(&Signal::ENDINGS)?;
        warn_of_quota(context.ui, spec.limits.cpu_quota);
        self.wanted.get(&context, &mut endings, &spec).await?;
        let options = StartOptions {
            cold: self.machine.cold,
            ..StartOptions::default()
        };
        let machine = start(&context, spec, options, &mut signals).await?;
        let tty = !self.no_tty && (self.tty || terminal::is_interactive());
        let ended = async {
            let session = tokio::select! {
                session = machine.program(tty.then(pty)) => session?,
                signal = ending(&mut signals) => return Err(CommandError::Ended(signal)),
            };
            attach_with(context.ui, session, Attach { stdin: true, tty }, signals).await
        };
        let ended = ended.await;
        let gone = end(&machine).await;
        let code = ended?;
        gone?;
        Ok(code)
    }

    fn spec(&self) -> Result<MachineSpec, CommandError> {
        let mut spec = MachineSpec::new();
        spec.name.clone_from(&self.name);
        spec.root = root(&self.image);
        spec.command.clone_from(&self.command);
        spec.attached = true;
        spec.remove_on_exit = true;
        self.machine.apply(&mut spec);
        self.guest.apply(&mut spec)?;
        self.network.apply(&mut spec);
        self.limits.apply(&mut spec);
        make_absolute(&mut spec)?;
        Ok(spec)
    }
}

/// The machine, up. Of what happens on the way only the present step is shown, for as long as it lasts.
async fn start(
    context: &Context,
    spec: MachineSpec,
    options: StartOptions,
    signals: &mut Signals,
) -> Result<Machine, CommandError> {
    let progress = Progress::start(context.ui, "starting");
    let mut observer = |event: StartEvent| match event {
        StartEvent::Claimed { name, .. } => progress.doing(&format!("starting {name}")),
        other => {
            if let Some(warning) = other.warning() {
                progress.warning(&warning);
            }
        }
    };
    let started = tokio::select! {
        started = context.knaller.start(spec, options, &mut observer) => started?,
        // Dropping the start undoes it.
        signal = ending(signals) => return Err(CommandError::Ended(signal)),
    };
    Ok(started.0)
}

/// The next signal that is to end us.
async fn ending(signals: &mut Signals) -> Signal {
    loop {
        let signal = signals.next().await;
        if Signal::ENDINGS.contains(&signal) {
            return signal;
        }
    }
}

/// Nobody misses what is on the machine's own disk; volumes are left in order.
async fn end(machine: &Machine) -> Result<(), CommandError> {
    let spec = machine.info().await?.spec;
    let ended = if spec.volumes.is_empty() {
        machine.kill().await.map(drop)
    } else {
        machine.stop(StopOptions::default()).await.map(drop)
    };
    match ended {
        // It was quicker.
        Ok(()) | Err(knaller::Error::NotRunning(_) | knaller::Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
