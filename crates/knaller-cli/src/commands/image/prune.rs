//! `knaller image prune`.

use clap::Args;
use images::store::{Collected, Prune};
use knaller::{Class, Filter};

use super::with_store;
use crate::args::filter;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::human;

/// Remove what no machine needs: images without a name, and what broken downloads left
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Also images that have a name
    #[arg(short, long)]
    all: bool,

    /// Only say what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Only images that meet this: name=PART, label=NAME[=VALUE], reference=PATTERN of a name
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "label", "reference"], &[]))]
    filters: Vec<Filter>,
}

impl PruneArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let before = with_store(&context, |store| store.list()).await?;
        let what = Prune {
            all: self.all,
            dry_run: self.dry_run,
        };
        let Some(collected) = context.knaller.prune_images(what, &self.filters).await? else {
            let message = "an image is coming in just now, and nothing is removed meanwhile";
            return Err(CommandError::refused(Class::Conflict, message).hint("wait for it to end"));
        };
        for image in before
            .iter()
            .map(|listed| &listed.image)
            .filter(|image| collected.images.contains(&image.digest))
        {
            let names: Vec<_> = image.names.iter().map(|name| name.familiar()).collect();
            let names = if names.is_empty() {
                "no name".to_owned()
            } else {
                names.join(", ")
            };
            context.ui.print(&format!("{}  {names}", image.digest.short()))?;
        }
        context.ui.note(self.told(&collected));
        Ok(())
    }

    fn told(&self, collected: &Collected) -> String {
        let Collected {
            images,
            blobs,
            rootfs,
            leftovers,
            bytes,
        } = collected;
        if images.is_empty() && *blobs == 0 && *rootfs == 0 && *leftovers == 0 && *bytes == 0 {
            return "there is nothing to remove".to_owned();
        }
        let count = match images.len() {
            0 => "no image but leftovers".to_owned(),
            1 => "1 image".to_owned(),
            count => format!("{count} images"),
        };
        let bytes = human::bytes(*bytes);
        if self.dry_run {
            format!("{count} would be removed, and {bytes} would be free again")
        } else {
            format!("{count} removed, {bytes} free again")
        }
    }
}
