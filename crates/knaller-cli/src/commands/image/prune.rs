//! `knaller image prune`.

use std::fmt;

use clap::Args;
use images::store::{Collected, Image, Prune};
use knaller::{Class, Filter};
use serde::Serialize;

use super::with_store;
use crate::args::filter;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::table::{Cell, Tone};
use crate::ui::{Inspected, ReportArgs, human};

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

    #[command(flatten)]
    report: ReportArgs,
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
        let images = before.iter().map(|listed| &listed.image);
        let gone = images.filter(|image| collected.images.contains(&image.digest));
        let images: Vec<_> = gone.map(GoneView::new).collect();
        if let Some(format) = self.report.output {
            let view = PrunedView {
                images,
                freed: collected.bytes,
                dry_run: self.dry_run,
            };
            return context.ui.inspect(&[view], format);
        }
        for image in &images {
            context.ui.print(&image.to_string())?;
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

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
struct PrunedView {
    images: Vec<GoneView>,
    /// Bytes of the disk.
    freed: u64,
    /// Whether all that is only what would be.
    dry_run: bool,
}

/// An image that went.
#[derive(Debug, Serialize)]
struct GoneView {
    /// Of its manifest.
    id: String,
    /// As short as they can be written.
    names: Vec<String>,
    #[serde(skip)]
    short_id: String,
}

impl GoneView {
    fn new(image: &Image) -> Self {
        Self {
            id: image.digest.to_string(),
            names: image.names.iter().map(|name| name.familiar()).collect(),
            short_id: image.digest.short().to_owned(),
        }
    }
}

impl fmt::Display for GoneView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self.names.as_slice() {
            [] => "no name".to_owned(),
            names => names.join(", "),
        };
        write!(f, "{}  {names}", self.short_id)
    }
}

impl Inspected for PrunedView {
    fn name(&self) -> &str {
        "pruned"
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let (gone, free) = match self.dry_run {
            true => ("would go", "would be free"),
            false => ("removed", "free again"),
        };
        let images = self.images.iter().map(|image| (gone, image.to_string().into()));
        let mut facts: Vec<(&'static str, Cell)> = images.collect();
        facts.push((free, Cell::new(human::bytes(self.freed), Tone::Strong)));
        facts
    }
}
