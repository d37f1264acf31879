//! `knaller image push`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;
use images::oci::Reference;

use super::watch::{Deed, Watch};
use super::{ImageId, own_name, registries};
use crate::commands::each::{Done, one};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::ReportArgs;

/// Send an image to a registry
#[derive(Args, Debug)]
#[command(after_help = "\
What the registry has already is not sent again.

Examples:
  knaller image push registry.example.org/app:1
  knaller image push app:1 registry.example.org/team/app:1")]
pub(crate) struct PushArgs {
    /// The image's name or id, or the beginning of its id
    #[arg(value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new(), add = ArgValueCandidates::new(complete::images))]
    image: String,

    /// The name it gets there [default: its name here]
    #[arg(value_name = "NAME", value_parser = own_name)]
    name: Option<Reference>,

    /// Show no progress; write the image's digest to standard output
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,

    #[command(flatten)]
    report: ReportArgs,
}

impl PushArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => own_name(&self.image).map_err(|reason| {
                CommandError::usage(format!("{} is no name to push to: {reason}", self.image))
                    .hint("say which: `knaller image push IMAGE NAME`")
            })?,
        };
        let registries = registries()?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let watch = Watch::new(context.ui, Deed::Push, &self.image, self.quiet);
        let push = |observer| {
            context
                .knaller
                .push_image(&registries, &self.image, &name, observer)
        };
        let digest = watch.run(&mut signals, None, push).await?;
        if self.quiet {
            context.ui.print(&digest.to_string())?;
            return Ok(0);
        }
        let name = name.familiar();
        let done = Done::with(
            "pushed",
            format!("{name} is pushed: {digest}"),
            ImageId::of(&digest),
        );
        one(&context, &name, self.report.output, done)
    }
}
