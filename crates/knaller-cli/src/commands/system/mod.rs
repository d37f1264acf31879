//! `knaller system`: all that knaller has on this host.

mod df;
mod info;
mod prune;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

/// Show what knaller takes of this host, and free what nobody needs
#[derive(Args, Debug)]
pub(crate) struct SystemArgs {
    #[command(subcommand)]
    command: SystemCommand,
}

#[derive(Debug, Subcommand)]
enum SystemCommand {
    Df(df::DfArgs),
    Prune(prune::PruneArgs),
    Info(info::InfoArgs),
}

impl SystemArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        match self.command {
            SystemCommand::Df(command) => command.run(context).await.map(|()| 0),
            SystemCommand::Prune(command) => command.run(context).await,
            SystemCommand::Info(command) => command.run(context).await.map(|()| 0),
        }
    }
}
