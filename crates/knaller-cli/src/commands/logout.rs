//! `knaller logout`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::image::registries;
use crate::context::Context;
use crate::error::CommandError;

/// Forget what is kept for a registry
#[derive(Args, Debug)]
#[command(after_help = "What Docker and Podman keep for it is forgotten too.")]
pub(crate) struct LogoutArgs {
    /// The registry: HOST or HOST:PORT
    #[arg(value_name = "REGISTRY", value_parser = NonEmptyStringValueParser::new())]
    registry: String,
}

impl LogoutArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let registry = &self.registry;
        let was = registries()?
            .logout(registry)
            .await
            .map_err(knaller::Error::from)?;
        if was {
            context.ui.note(format_args!("logged out of {registry}"));
        } else {
            context.ui.note(format_args!("nobody is logged in to {registry}"));
        }
        Ok(())
    }
}
