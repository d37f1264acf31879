//! `knaller fork`.

use clap::Args;
use knaller::{Name, RestoreSpec, StartEvent, StartOptions};

use super::machine::MachineView;
use crate::args::mac::MacChoice;
use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::{OutputArgs, Progress};

/// The most machines that one call makes.
const MOST: u16 = 1_000;

/// Make machines that go on from where another is now
#[derive(Args, Debug)]
#[command(after_help = "\
Each fork has the memory, the processes and the disks of the machine in this moment, and a name, host key, machine id and \
kernel randomness of its own; its ports are forwarded from free ones of the host. Forks share memory until they write to it. \
Connections to others stay with the machine: in a fork they are reset. What a program has drawn before is the same in all: one \
with a random generator of its own has to seed it anew. Limits, labels and the restart policy are the machine's. All of them come \
up, or none is left.

Examples:
  knaller fork db
  knaller fork db -n 10
  knaller fork db --name db-test")]
pub(crate) struct ForkArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST)))]
    count: u16,

    /// What a single fork is to be called; two words are made up if there is none
    #[arg(long = "name", value_name = "NAME", conflicts_with = "count")]
    fork: Option<Name>,

    /// Give each fork this MAC address, or a random one of its own [default: the machine's]
    #[arg(long, value_name = "ADDRESS|new")]
    mac: Option<MacChoice>,

    /// Delete the forks when they have stopped
    #[arg(long)]
    rm: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl ForkArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let progress = Progress::start(context.ui, &format!("forking {}", machine.name()));
        let mut observer = |event: StartEvent| match event {
            StartEvent::Claimed { name, .. } => progress.doing(&format!("starting {name}")),
            other => {
                if let Some(warning) = other.warning() {
                    progress.warning(&warning);
                }
            }
        };
        let mut spec = RestoreSpec::default();
        spec.name = self.fork;
        spec.remove_on_exit = self.rm;
        let specs = (0..self.count).map(|_| {
            let mut spec = spec.clone();
            spec.mac = self.mac.map(MacChoice::address).transpose()?;
            Ok(spec)
        });
        let specs: Vec<_> = specs.collect::<Result<_, CommandError>>()?;
        let forks = tokio::select! {
            forks = machine.fork(specs, StartOptions::default(), &mut observer) => forks?,
            // Dropping the start undoes it.
            signal = signals.next() => return Err(CommandError::Ended(signal)),
        };
        drop(progress);
        let mut infos = Vec::new();
        for (fork, _) in forks {
            let info = fork.info().await.map_err(CommandError::from);
            infos.push(
                info.map_err(|error| error.about(&format!("{} runs, but cannot be shown", fork.name())))?,
            );
        }
        {
            let views: Vec<_> = infos.into_iter().map(MachineView::new).collect();
            context.ui.list(&views, self.output.output, "")
        }
    }
}
