//! `knaller image tag`.

use clap::Args;
use images::oci::Reference;

use super::{ImageArg, ImageId, own_name, with_store};
use crate::commands::each::{Done, one};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

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

    #[command(flatten)]
    report: ReportArgs,
}

impl TagArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let (what, name) = (self.image.image, self.name.clone());
        let image = with_store(&context, move |store| {
            store.tag(&what, &name)?;
            store.resolve(&what)
        });
        let image = image.await?;
        let name = self.name.familiar();
        let sentence = format!("{name} is {} now", image.digest.short());
        let done = Done::with("tagged", sentence, ImageId::of(&image.digest));
        one(&context, &name, self.report.output, done)
    }
}
