//! `knaller volume`: disks that outlive machines.

mod create;
mod list;
mod rm;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

/// Make, list and remove volumes
#[derive(Args, Debug)]
#[command(after_help = "\
A volume is an ext4 disk with a name. `start` and `run` mount it with --volume NAME:FOLDER, and make one that is not there \
yet. An empty one is given what the image has in FOLDER, but not with `:ro`. It stays when the machine goes. One machine at a time writes to it; several may read it, all with `:ro`.")]
pub(crate) struct VolumeArgs {
    #[command(subcommand)]
    command: VolumeCommand,
}

#[derive(Debug, Subcommand)]
enum VolumeCommand {
    Create(create::CreateArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Rm(rm::RmArgs),
}

impl VolumeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        match self.command {
            VolumeCommand::Create(command) => command.run(context).await,
            VolumeCommand::List(command) => command.run(context).await.map(|()| 0),
            VolumeCommand::Rm(command) => command.run(context).await,
        }
    }
}
