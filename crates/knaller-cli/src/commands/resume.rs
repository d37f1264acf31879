//! `knaller resume`.

use clap::Args;
use knaller::State;

use super::each::{Done, each};
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Let paused machines go on
#[derive(Args, Debug)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    machines: MachineArgs,

    #[command(flatten)]
    report: ReportArgs,
}

impl ResumeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        // One whose VMM does not say what it is may stand still.
        let can = |state| matches!(state, State::Paused | State::Unresponsive);
        let names = self.machines.which(&context, can).await?;
        each(&context, names, "resuming", self.report.output, async |name| {
            context.machine(name).await?.resume().await?;
            Ok(Some(Done::new("resumed", format!("{name} goes on"))))
        })
        .await
    }
}
