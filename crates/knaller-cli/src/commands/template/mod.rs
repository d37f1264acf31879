//! `knaller template`: guests that were kept for warm starts.

mod list;
mod make;
mod prune;
mod rm;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::CommandError;

/// List, take and remove what is kept for warm starts
#[derive(Args, Debug)]
#[command(after_help = "\
The first start of a shape (kernel, VMM, CPUs, memory, number of disks) keeps its guest as it is before it learns what machine it \
is to be. Later starts of that shape, of any image, thaw that guest instead of booting one. A template holds no name, no \
key and nothing of an image. One that no longer fits (another kernel, VMM or boot of the host) is not used any more and goes by \
itself. `start --cold` does without.")]
pub(crate) struct TemplateArgs {
    #[command(subcommand)]
    command: TemplateCommand,
}

#[derive(Debug, Subcommand)]
enum TemplateCommand {
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Make(make::MakeArgs),
    Rm(rm::RmArgs),
    Prune(prune::PruneArgs),
}

impl TemplateArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        match self.command {
            TemplateCommand::List(command) => command.run(context).await.map(|()| 0),
            TemplateCommand::Make(command) => Box::pin(command.run(context)).await.map(|()| 0),
            TemplateCommand::Rm(command) => command.run(context).await,
            TemplateCommand::Prune(command) => command.run(context).await.map(|()| 0),
        }
    }
}
