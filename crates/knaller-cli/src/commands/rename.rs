//! `knaller rename`.

use clap::Args;
use knaller::Name;
use serde::Serialize;

use super::each::{Done, each};
use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Give a machine another name, whether it runs or not
#[derive(Args, Debug)]
#[command(after_help = "\
One that runs goes on, with its sockets, forwards and snapshots. Inside it is called what it was until its next start.")]
pub(crate) struct RenameArgs {
    #[command(flatten)]
    machine: MachineArg,

    /// What it is to be called
    #[arg(value_name = "NEW NAME")]
    to: Name,

    #[command(flatten)]
    report: ReportArgs,
}

impl RenameArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let to = &self.to;
        let names = vec![self.machine.name];
        each(&context, names, "renaming", self.report.output, async |from| {
            context.machine(from).await?.rename(to).await?;
            let sentence = format!("{from} is called {to} now");
            Ok(Some(Done::with("renamed", sentence, Renamed { to: to.clone() })))
        })
        .await
    }
}

#[derive(Serialize)]
struct Renamed {
    to: Name,
}
