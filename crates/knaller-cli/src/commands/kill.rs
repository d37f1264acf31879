//! `knaller kill`.

use clap::Args;

use super::each::{Done, each};
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
            context.machine(name).await?.kill().await?;
            Ok(Some(Done::new("killed", format!("{name} was killed"))))
        })
        .await
    }
}
