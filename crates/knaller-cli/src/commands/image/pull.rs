//! `knaller image pull`.

use clap::Args;
use images::oci::{Platform, Reference};
use images::registry::Registries;
use images::store::Image;

use super::registries;
use super::watch::{Deed, Watch};
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};

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
    #[arg(short, long)]
    quiet: bool,
}

impl PullArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let registries = registries()?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        let mut code = 0;
        for name in &self.names {
            match pull(&context, &registries, &mut signals, name, &platform, self.quiet).await {
                Ok(image) if self.quiet => context.ui.print(&image.digest.to_string())?,
                Ok(image) => context.ui.note(format_args!(
                    "{} is pulled: {}",
                    name.familiar(),
                    image.digest.short()
                )),
                Err(error @ (CommandError::Ended(_) | CommandError::BrokenPipe)) => return Err(error),
                // One that fails holds up no other.
                Err(error) => {
                    let failed = context.ui.error(&error.about(&name.familiar()));
                    code = if code == 0 { failed } else { code };
                }
            }
        }
        Ok(code)
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
