//! `knaller rename`.

use clap::Args;
use knaller::Name;

use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;

/// Give a machine another name, whether it runs or not
#[derive(Args, Debug)]
pub(crate) struct RenameArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// What it is to be called
    #[arg(value_name = "NEW NAME")]
    to: Name,
}

impl RenameArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let from = &self.machine.name;
        context.machine(from).await?.rename(&self.to).await?;
        context.ui.note(format_args!("{from} is called {} now", self.to));
        Ok(())
    }
}
