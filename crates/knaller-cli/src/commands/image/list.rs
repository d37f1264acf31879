//! `knaller image list`.

use clap::Args;
use knaller::Filter;

use super::view::ImageView;
use super::with_store;
use crate::args::filter;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// List the images
#[derive(Args, Debug)]
#[command(after_help = "\
SIZE is what the image takes of the disk, root file system included; UNIQUE is the part of it that no other image has \
too: what removing it frees.")]
pub(crate) struct ListArgs {
    /// Those that meet this: name=PART, label=NAME[=VALUE], state=used or state=unused,
    /// reference=PATTERN of a name, as debian:*
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "label", "state", "reference"], filter::USES))]
    filters: Vec<Filter>,

    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let listed = with_store(&context, |store| store.list()).await?;
        let view = |listed| ImageView::new(listed, |id| context.knaller.image_users(id));
        let views = listed.iter().map(view);
        let views: Vec<_> = views
            .filter(|view| Filter::all_match(&self.filters, view))
            .collect();
        context.ui.list(
            &views,
            self.output.output,
            &filter::nothing(
                &self.filters,
                "There is no image yet: `knaller image pull` or `knaller image import` gets one.",
            ),
        )
    }
}
