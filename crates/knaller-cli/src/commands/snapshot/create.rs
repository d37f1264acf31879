//! `knaller snapshot create`.

use clap::Args;
use knaller::{Name, SnapshotOptions};

use super::view::SnapshotView;
use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::{Progress, ReportArgs, human};

/// Keep a machine as it is now
#[derive(Args, Debug)]
#[command(after_help = "\
The machine stands still while its memory and disks are copied; how long is said at the end. Whatever fails, it goes on.

With --diff only what changed is kept, and the snapshot builds on the last one: less is written, and the machine stands still for a \
shorter time, on Firecracker if it was started with --track-dirty. `knaller snapshot merge` makes it need no other. \
Where there is none to build on, since it was removed or the machine was started anew, all of it is kept, and that is said.

Examples:
  knaller snapshot create db --name db-ready
  knaller snapshot create db --diff")]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// What the snapshot is to be called; the machine's name with a number if there is none
    #[arg(long = "name", value_name = "SNAPSHOT")]
    snapshot: Option<Name>,

    /// Keep what changed since the machine's last snapshot, or the one that it was made of
    #[arg(long)]
    diff: bool,

    /// Stop the machine in order afterwards; what it does until then is not in the snapshot
    #[arg(long)]
    stop: bool,

    #[command(flatten)]
    report: ReportArgs,
}

impl CreateArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let progress = Progress::start(context.ui, &format!("keeping {}", machine.name()));
        let options = SnapshotOptions {
            name: self.snapshot,
            diff: self.diff,
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
        if let Some(format) = self.report.output {
            return context.ui.inspect(&[SnapshotView(taken.info)], format);
        }
        let builds = taken.info.parent.map(|parent| format!(" on {parent}"));
        context.ui.note(format_args!(
            "snapshot {} of {} is made{}, {}; the machine stood still for {}",
            taken.info.name,
            taken.info.machine,
            builds.unwrap_or_default(),
            human::bytes(taken.info.size),
            human::span(taken.paused)
        ));
        Ok(())
    }
}
