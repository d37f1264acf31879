//! `knaller resume`.

use clap::Args;

use super::each::each;
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;

/// Let paused machines go on
#[derive(Args, Debug)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    machines: MachineArgs,
}

impl ResumeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let names = self.machines.running(&context).await?;
        each(&context, names, "resuming", async |name| {
            context.machine(name).await?.resume().await?;
            Ok(Some(format!("{name} goes on")))
        })
        .await
    }
}
