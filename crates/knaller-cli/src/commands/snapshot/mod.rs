//! `knaller snapshot`: machines kept as they are in one moment.

mod create;
mod export;
mod import;
mod inspect;
mod list;
mod merge;
mod rm;
mod view;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

/// Keep machines as they are, list and remove what is kept
#[derive(Args, Debug)]
#[command(after_help = "\
A snapshot holds a machine's memory, devices and disks. It needs nothing of the machine, which goes on. \
`knaller start --from-snapshot NAME` makes a machine of it that goes on from there under another name.")]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    Create(create::CreateArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Inspect(inspect::InspectArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Merge(merge::MergeArgs),
    Rm(rm::RmArgs),
}

impl SnapshotArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        match self.command {
            SnapshotCommand::Create(command) => command.run(context).await.map(|()| 0),
            SnapshotCommand::List(command) => command.run(context).await.map(|()| 0),
            SnapshotCommand::Inspect(command) => command.run(context).await.map(|()| 0),
            SnapshotCommand::Export(command) => command.run(context).await.map(|()| 0),
            SnapshotCommand::Import(command) => command.run(context).await.map(|()| 0),
            SnapshotCommand::Merge(command) => command.run(context).await,
            SnapshotCommand::Rm(command) => command.run(context).await,
        }
    }
}
