//! `knaller kill`.

use clap::Args;

use super::each::each;
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;

/// End machines at once, as pulling the plug does
#[derive(Args, Debug)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    machines: MachineArgs,
}

impl KillArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let names = self.machines.running(&context).await?;
        each(&context, names, "killing", async |name| {
            context.machine(name).await?.kill().await?;
            Ok(Some(format!("{name} was killed")))
        })
        .await
    }
}
