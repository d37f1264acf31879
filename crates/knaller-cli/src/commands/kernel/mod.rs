//! `knaller kernel`: the kernels that machines boot.

mod import;
mod inspect;
mod list;
mod name;
mod rm;
mod view;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use images::bundle::{KernelStore, StoreError};
use knaller::Class;

use crate::complete;
use crate::context::Context;
use crate::error::CommandError;

/// Import, list, name and remove kernels
#[derive(Args, Debug)]
pub(crate) struct KernelArgs {
    #[command(subcommand)]
    command: KernelCommand,
}

#[derive(Debug, Subcommand)]
enum KernelCommand {
    Import(import::ImportArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Inspect(inspect::InspectArgs),
    Name(name::NameArgs),
    Rm(rm::RmArgs),
}

/// Which kernel.
#[derive(Args, Clone, Debug)]
struct KernelArg {
    /// The kernel's id, or the beginning of it, its version or its name
    #[arg(value_name = "KERNEL", value_parser = NonEmptyStringValueParser::new(), add = ArgValueCandidates::new(complete::kernels))]
    kernel: String,
}

impl KernelArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        match self.command {
            KernelCommand::Import(command) => command.run(context).await,
            KernelCommand::List(command) => command.run(context).await.map(|()| 0),
            KernelCommand::Inspect(command) => command.run(context).await.map(|()| 0),
            KernelCommand::Name(command) => command.run(context).await.map(|()| 0),
            KernelCommand::Rm(command) => command.run(context).await,
        }
    }
}

/// Does `work` with the store on a thread where it may wait for the disk.
async fn with_store<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&KernelStore) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, CommandError> {
    let data = context.knaller.options().paths.data.clone();
    let work = tokio::task::spawn_blocking(move || work(&KernelStore::open(&data)?));
    let done = work
        .await
        .map_err(|error| CommandError::host("the work on the kernels ended early", &error))?;
    Ok(done?)
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let class = match &error {
            error if error.is_absence() => Class::NotFound,
            StoreError::Trust(_) | StoreError::Stage(_) | StoreError::Read(_) => Class::Host,
            StoreError::Name(_) => Class::Usage,
            _ => Class::Image,
        };
        Self::of(class, &error)
    }
}
