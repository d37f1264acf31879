//! `knaller image`: the images that machines start from.

mod details;
mod export;
mod history;
mod import;
mod inspect;
mod list;
mod prune;
mod pull;
mod push;
mod rm;
mod tag;
mod view;
mod wanted;
mod watch;

pub(super) use wanted::WantedArgs;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use images::oci::{Digest, Reference};
use images::registry::{Configuration, Registries, RegistryError};
use images::store::{Store, StoreError};
use serde::Serialize;

use crate::complete;
use crate::context::Context;
use crate::error::CommandError;

/// Pull, import, list, name, remove, push and export images
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Pull(pull::PullArgs),
    Import(import::ImportArgs),
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    Inspect(inspect::InspectArgs),
    History(history::HistoryArgs),
    Tag(tag::TagArgs),
    Rm(rm::RmArgs),
    Prune(prune::PruneArgs),
    Push(push::PushArgs),
    Export(export::ExportArgs),
}

/// Which image.
#[derive(Args, Clone, Debug)]
struct ImageArg {
    /// The image's name or id, or the beginning of its id
    #[arg(value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new(), add = ArgValueCandidates::new(complete::images))]
    image: String,
}

impl ImageArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        match self.command {
            ImageCommand::Pull(command) => command.run(context).await,
            ImageCommand::Import(command) => command.run(context).await,
            ImageCommand::List(command) => command.run(context).await.map(|()| 0),
            ImageCommand::Inspect(command) => command.run(context).await.map(|()| 0),
            ImageCommand::History(command) => command.run(context).await.map(|()| 0),
            ImageCommand::Tag(command) => command.run(context).await,
            ImageCommand::Rm(command) => command.run(context).await,
            ImageCommand::Prune(command) => command.run(context).await.map(|()| 0),
            ImageCommand::Push(command) => command.run(context).await,
            ImageCommand::Export(command) => command.run(context).await.map(|()| 0),
        }
    }
}

/// What programs are told of an image that was got or made.
#[derive(Debug, Serialize)]
pub(crate) struct ImageId {
    /// Of its manifest.
    id: String,
}

impl ImageId {
    pub(crate) fn of(digest: &Digest) -> Self {
        let id = digest.to_string();
        Self { id }
    }
}

/// The registries as this user has configured them.
pub(crate) fn registries() -> Result<Registries, CommandError> {
    let configuration = Configuration::load(|name| std::env::var_os(name));
    let configuration = configuration.map_err(|error| knaller::Error::from(RegistryError::from(error)))?;
    Ok(Registries::new(configuration))
}

/// A name that an image is given here. Its digest is not for us to say.
fn own_name(text: &str) -> Result<Reference, String> {
    let name: Reference = text
        .parse()
        .map_err(|error: images::oci::ReferenceError| error.to_string())?;
    match name.digest() {
        None => Ok(name),
        Some(_) => Err("a name that is given here has no digest".to_owned()),
    }
}

/// Does `work` with the store on a thread where it may wait for the disk.
async fn with_store<T: Send + 'static>(
    context: &Context,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, CommandError> {
    let store = context.knaller.images()?;
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    let done = done.map_err(|error| CommandError::host("the work on the images ended early", &error))?;
    Ok(done.map_err(knaller::Error::from)?)
}

#[cfg(test)]
mod tests;
