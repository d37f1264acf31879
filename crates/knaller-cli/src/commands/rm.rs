//! `knaller rm`.

use clap::Args;
use knaller::{Error, Name};

use super::each::{Done, each};
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Remove stopped machines with all their files
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    machines: MachineArgs,

    /// Kill those that run first, and do not mind those that are gone
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    report: ReportArgs,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let names = self.machines.clone().even_damaged(&context).await?;
        each(
            &context,
            names,
            "removing",
            self.report.output,
            async |name| match self.remove(&context, name).await {
                Ok(()) => Ok(Some(Done::new("removed", format!("{name} is removed")))),
                Err(Error::NotFound(_)) if self.force => Ok(None),
                Err(error) => Err(error.into()),
            },
        )
        .await
    }

    async fn remove(&self, context: &Context, name: &Name) -> knaller::Result<()> {
        let machine = context.knaller.get(name.as_str()).await?;
        if self.force {
            match machine.kill().await {
                Ok(_) | Err(Error::NotRunning(_)) => {}
                Err(error) => return Err(error),
            }
        }
        machine.remove().await
    }
}
