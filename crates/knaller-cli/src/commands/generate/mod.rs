//! `knaller generate`: files for other programs.

mod systemd;
mod unit;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

/// Write what other programs need to keep machines
#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    #[command(subcommand)]
    command: GenerateCommand,
}

#[derive(Debug, Subcommand)]
enum GenerateCommand {
    Systemd(systemd::SystemdArgs),
}

impl GenerateArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        match self.command {
            GenerateCommand::Systemd(command) => command.run(context).await,
        }
    }
}
