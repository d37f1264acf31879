//! `knaller pause`.

use clap::Args;
use knaller::State;

use super::each::{Done, each};
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Make machines stand still
#[derive(Args, Debug)]
#[command(after_help = "A paused machine keeps its memory and uses no CPU. `knaller resume` lets it go on.")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    machines: MachineArgs,

    #[command(flatten)]
    report: ReportArgs,
}

impl PauseArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let can = |state| !matches!(state, State::Stopped | State::Paused);
        let names = self.machines.which(&context, can).await?;
        each(&context, names, "pausing", self.report.output, async |name| {
            context.machine(name).await?.pause().await?;
            Ok(Some(Done::new("paused", format!("{name} is paused"))))
        })
        .await
    }
}
