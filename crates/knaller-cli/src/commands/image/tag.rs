//! `knaller image tag`.

use clap::Args;
use images::oci::Reference;

use super::{ImageArg, own_name, with_store};
use crate::context::Context;
use crate::error::CommandError;

/// Give an image a further name
#[derive(Args, Debug)]
#[command(after_help = "\
Another image that has the name loses it.

Examples:
  knaller image tag debian:12 registry.example.org/base:1
  knaller image tag 0123abcd base")]
pub(crate) struct TagArgs {
    #[command(flatten)]
    image: ImageArg,

    /// The name
    #[arg(value_name = "NAME", value_parser = own_name)]
    name: Reference,
}

impl TagArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let (what, name) = (self.image.image, self.name.clone());
        let id = with_store(&context, move |store| {
            store.tag(&what, &name)?;
            Ok(store.resolve(&what)?.digest)
        });
        let id = id.await?;
        context
            .ui
            .note(format_args!("{} is {} now", self.name.familiar(), id.short()));
        Ok(())
    }
}
