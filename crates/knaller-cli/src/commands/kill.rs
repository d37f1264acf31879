//! `knaller kill`.

use clap::Args;
use knaller::StopOutcome;

use super::each::{Done, each};
use super::stop;
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// End machines at once, as pulling the plug does
#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    machines: MachineArgs,

    #[command(flatten)]
    report: ReportArgs,
}

impl KillArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let names = self.machines.running(&context).await?;
        each(&context, names, "killing", self.report.output, async |name| {
            let (done, sentence) = match context.machine(name).await?.kill().await? {
                outcome @ StopOutcome::StaysStopped => ("stopped", stop::told(name, outcome)),
                _ => ("killed", format!("{name} was killed")),
            };
            Ok(Some(Done::new(done, sentence)))
        })
        .await
    }
}
