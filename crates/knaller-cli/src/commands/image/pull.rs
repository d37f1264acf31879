//! `knaller image pull`.

use std::fmt;

use clap::Args;
use images::oci::{Platform, Reference};
use images::registry::Registries;
use images::store::Image;

use super::watch::{Deed, Watch};
use super::{ImageId, registries};
use crate::commands::each::{Done, in_turn};
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::ReportArgs;

/// Fetch images from registries
#[derive(Args, Debug)]
#[command(after_help = "\
Names are completed as Docker does it: `debian` is docker.io/library/debian:latest. What broke off is gone on with by \
the next pull.

Examples:
  knaller image pull debian:12
  knaller image pull ghcr.io/user/app@sha256:DIGEST
  knaller image pull --platform linux/arm64 alpine")]
pub(crate) struct PullArgs {
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<Reference>,

    /// Of an image for several platforms, the one for this [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,

    /// Show no progress; write the images' ids to standard output
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,

    #[command(flatten)]
    report: ReportArgs,
}

impl PullArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let registries = registries()?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        let names = self.names.iter().map(Called).collect();
        in_turn(&context, names, self.report.output, async |name: &Called<'_>| {
            let image = pull(&context, &registries, &mut signals, name.0, &platform, self.quiet).await?;
            if self.quiet {
                context.ui.print(&image.digest.to_string())?;
                return Ok(None);
            }
            let sentence = format!("{name} is pulled: {}", image.digest.short());
            Ok(Some(Done::with("pulled", sentence, ImageId::of(&image.digest))))
        })
        .await
    }
}

/// An image by its name, as short as it can be written.
struct Called<'a>(&'a Reference);

impl fmt::Display for Called<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.familiar())
    }
}

/// Fetches one image and shows how.
pub(crate) async fn pull(
    context: &Context,
    registries: &Registries,
    signals: &mut Signals,
    name: &Reference,
    platform: &Platform,
    quiet: bool,
) -> Result<Image, CommandError> {
    let watch = Watch::new(context.ui, Deed::Pull, &name.familiar(), quiet);
    let pull = |observer| context.knaller.pull_image(registries, name, platform, observer);
    watch.run(signals, None, pull).await
}
