//! The image that a machine is to be started from, fetched where it is missing.

use clap::{Args, ValueEnum};
use images::oci::{Platform, Reference, ReferenceError};
use images::store::StoreError;
use knaller::{MachineSpec, Root};

use super::pull::pull;
use super::registries;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::Signals;

/// How the image comes.
#[derive(Args, Clone, Debug)]
pub(in crate::commands) struct WantedArgs {
    /// When to fetch the image from its registry
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pull: Policy,

    /// Of an image for several platforms that is fetched, the one for this [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// If it is not here
    #[default]
    Missing,
    /// Also if it is here: its name may mean another image by now
    Always,
    /// Not at all
    Never,
}

impl WantedArgs {
    /// Fetches the image that `spec` names, if that is to be done, and shows how.
    pub(in crate::commands) async fn get(
        &self,
        context: &Context,
        signals: &mut Signals,
        spec: &MachineSpec,
    ) -> Result<(), CommandError> {
        let Root::Image(what) = &spec.root else {
            return Ok(());
        };
        // What cannot be started needs no image; the start says why it cannot.
        if spec.validate().is_err() || is_taken(context, spec).await {
            return Ok(());
        }
        let here = match context.knaller.images()?.resolve(what) {
            Ok(_) if self.pull != Policy::Always => return Ok(()),
            Ok(_) => true,
            Err(StoreError::Unknown(_) | StoreError::Reference(_)) if self.pull != Policy::Never => false,
            Err(error) => return Err(knaller::Error::from(error).into()),
        };
        let name: Reference = what.parse().map_err(|error| unnamed(what, &error))?;
        if !here {
            context
                .ui
                .note(format_args!("{} is not here: pulling it", name.familiar()));
        }
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        pull(context, &registries()?, signals, &name, &platform, false)
            .await
            .map_err(|error| error.about(&name.familiar()))?;
        Ok(())
    }
}

/// Whether there is a machine of that name, so that none can be made.
async fn is_taken(context: &Context, spec: &MachineSpec) -> bool {
    match &spec.name {
        Some(name) => context.knaller.get(name.as_str()).await.is_ok(),
        None => false,
    }
}

/// Neither an image that is here nor a name that a registry could know.
fn unnamed(what: &str, error: &ReferenceError) -> CommandError {
    let class = knaller::Class::NotFound;
    let message = match error {
        ReferenceError::Id(_) => {
            format!("there is no image with the id {what} here, and an id cannot be pulled")
        }
        error => format!("there is no image {what:?} here, and it cannot be pulled: {error}"),
    };
    CommandError::refused(class, message).hint("`knaller image ls` lists the images that are here")
}
