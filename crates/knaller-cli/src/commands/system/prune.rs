//! `knaller system prune`.

use std::io::IsTerminal as _;

use clap::Args;
use images::store::Prune;
use knaller::Filter;
use serde::Serialize;

use crate::args::filter;
use crate::commands::prune::{HealedView, code};
use crate::context::Context;
use crate::error::CommandError;
use crate::input;
use crate::signals::{Signal, Signals};
use crate::ui::table::{Cell, Tone};
use crate::ui::{Inspected, OutputArgs, human};

/// Free disk space that nobody needs: what killed processes left, images without a name, templates that serve no more
#[derive(Args, Debug)]
#[command(after_help = "\
Machines and snapshots stay, and so does what a machine needs, whether it runs or not. Of a snapshot that builds on another goes what \
was put together for its machines. `knaller system df` shows what could be \
free.")]
pub(crate) struct PruneArgs {
    /// All images that no machine has, and all templates
    #[arg(short, long)]
    all: bool,

    /// Volumes that no machine has, with all that is on them
    #[arg(long)]
    volumes: bool,

    /// Of images, templates, snapshots and volumes only those that meet this: name=PART, label=NAME[=VALUE], which
    /// templates and volumes do not have
    #[arg(long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "label"], &[]))]
    filters: Vec<Filter>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl PruneArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        if !self.force && !self.is_agreed(&context, &mut signals).await? {
            context.ui.note("nothing is removed");
            return Ok(0);
        }
        let knaller = &context.knaller;
        let healed = knaller.prune(false).await?;
        let what = Prune {
            all: self.all,
            dry_run: false,
        };
        let images = knaller.prune_images(what, &self.filters).await?;
        if images.is_none() {
            let why = "an image is coming in just now: images are left as they are";
            context.ui.warning(why);
        }
        let images = images.unwrap_or_default();
        let (templates, of_templates) = knaller.prune_templates(self.all, &self.filters).await?;
        let (snapshots, of_snapshots) = knaller.prune_snapshots(&self.filters).await?;
        let (volumes, of_volumes) = self.prune_volumes(&context).await?;
        let view = PrunedView {
            healed: healed.iter().map(HealedView::new).collect(),
            images: images.images.len(),
            templates,
            snapshots,
            volumes,
            freed: images.bytes + of_templates + of_snapshots + of_volumes,
        };
        context.ui.inspect(&[view], self.output.output)?;
        Ok(code(&healed))
    }

    /// Whether the person at the terminal wants it. Without one nobody can say so.
    async fn is_agreed(&self, context: &Context, signals: &mut Signals) -> Result<bool, CommandError> {
        if !std::io::stdin().is_terminal() {
            let message = "nobody can be asked whether that is to be removed";
            return Err(CommandError::usage(message).hint("say --force"));
        }
        let mut what = vec!["what killed processes left"];
        what.push(if self.all {
            "all images that no machine has, all templates"
        } else {
            "images without a name, templates that serve no more"
        });
        if self.volumes {
            what.push("all volumes that no machine has, with all that is on them");
        }
        let what = what.join(", ");
        let only = match self.filters.as_slice() {
            [] => String::new(),
            filters => format!(
                " (only {})",
                filters
                    .iter()
                    .map(Filter::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        context.ui.note(format_args!("This removes {what}{only}."));
        context.ui.prompt("Go on? [y/N] ")?;
        let answer = input::line(signals).await?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    async fn prune_volumes(&self, context: &Context) -> Result<(Vec<String>, u64), CommandError> {
        let mut gone = Vec::new();
        let mut size = 0;
        if !self.volumes {
            return Ok((gone, size));
        }
        for volume in context.knaller.volumes().await? {
            if !volume.users.is_empty() || !Filter::all_match(&self.filters, &volume) {
                continue;
            }
            match context.knaller.remove_volume(&volume.name).await {
                Ok(()) => {
                    size += volume.taken;
                    gone.push(volume.name.to_string());
                }
                // A machine has it since, or a snapshot needs it.
                Err(
                    knaller::Error::VolumeHeld { .. }
                    | knaller::Error::VolumeNeeded { .. }
                    | knaller::Error::NoVolume(_),
                ) => {}
                // So it is for all that are left.
                Err(error @ knaller::Error::VolumeUncertain { .. }) => {
                    context.ui.warning(format_args!("volumes stay: {error}"));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((gone, size))
    }
}

/// Programs rely on its field names.
#[derive(Debug, Serialize)]
struct PrunedView {
    healed: Vec<HealedView>,
    images: usize,
    templates: usize,
    /// Whose memory is no longer kept put together.
    snapshots: usize,
    volumes: Vec<String>,
    /// Bytes of the disk.
    freed: u64,
}

impl Inspected for PrunedView {
    fn name(&self) -> &str {
        "pruned"
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let mut facts: Vec<(&'static str, Cell)> = self
            .healed
            .iter()
            .map(|healed| ("healed", healed.sentence.as_str().into()))
            .collect();
        facts.extend([
            ("images", format!("{} removed", self.images).into()),
            ("templates", format!("{} removed", self.templates).into()),
        ]);
        if self.snapshots > 0 {
            facts.push(("snapshots", format!("{} no longer cached", self.snapshots).into()));
        }
        if !self.volumes.is_empty() {
            facts.push(("volumes", format!("{} removed", self.volumes.join(", ")).into()));
        }
        facts.push(("free again", Cell::new(human::bytes(self.freed), Tone::Strong)));
        facts
    }
}
