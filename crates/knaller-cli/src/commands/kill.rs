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
        let ui = context.ui;
        each(&context, names, async |name| {
            let machine = context.machine(name).await?;
            machine.kill().await?;
            ui.note(format_args!("{name} was killed"));
            Ok(())
        })
        .await
    }
}
