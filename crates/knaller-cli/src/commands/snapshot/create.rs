//! `knaller snapshot create`.

use clap::Args;
use knaller::{Name, SnapshotOptions};

use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::{Progress, human};

/// Keep a machine as it is now
#[derive(Args, Debug)]
#[command(after_help = "\
The machine stands still while its memory and disks are copied; how long is said at the end. Whatever fails, it goes on.")]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// What the snapshot is to be called; the machine's name with a number if there is none
    #[arg(long = "name", value_name = "SNAPSHOT")]
    snapshot: Option<Name>,

    /// Stop the machine afterwards
    #[arg(long)]
    stop: bool,
}

impl CreateArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let progress = Progress::start(context.ui, &format!("keeping {}", machine.name()));
        let options = SnapshotOptions {
            name: self.snapshot,
            stop: self.stop,
        };
        let taken = tokio::select! {
            taken = machine.snapshot(options) => taken?,
            // Dropped, it leaves nothing, and the machine goes on.
            signal = signals.next() => return Err(CommandError::Ended(signal)),
        };
        for warning in &taken.warnings {
            progress.warning(warning);
        }
        drop(progress);
        context.ui.note(format_args!(
            "snapshot {} of {} is made, {}; the machine stood still for {}",
            taken.info.name,
            taken.info.machine,
            human::bytes(taken.info.size),
            human::span(taken.paused)
        ));
        Ok(())
    }
}
