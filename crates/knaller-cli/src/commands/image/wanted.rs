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

    /// What the image must be for; one that is here for another platform is not taken [default: this machine's]
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
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        if !platform.runs_on(&Platform::host()) {
            let image = what.clone();
            return Err(knaller::Error::ForeignImage { image, platform }.into());
        }
        let here = self.look(context, what)?;
        let name: Reference = match (&here, self.pull) {
            (Here::Fit, Policy::Missing | Policy::Never) => return Ok(()),
            (Here::Other(has), Policy::Never) => return Err(unfit(what, has, &platform)),
            (Here::Other(has), _) => what.parse().map_err(|_| unfit(what, has, &platform))?,
            _ => what.parse().map_err(|error| unnamed(what, &error))?,
        };
        match &here {
            Here::Nothing => context
                .ui
                .note(format_args!("{} is not here: pulling it", name.familiar())),
            Here::Other(has) => context.ui.note(format_args!(
                "{} is here for {has}: pulling it for {platform}",
                name.familiar()
            )),
            Here::Fit => {}
        }
        pull(context, &registries()?, signals, &name, &platform, false)
            .await
            .map_err(|error| error.about(&name.familiar()))?;
        Ok(())
    }

    /// Looks for the image here. Where no platform is asked for, any fits: the start refuses what this machine cannot run.
    fn look(&self, context: &Context, what: &str) -> Result<Here, CommandError> {
        let image = match context.knaller.images()?.resolve(what) {
            Ok(image) => image,
            Err(StoreError::Unknown(_) | StoreError::Reference(_)) if self.pull != Policy::Never => {
                return Ok(Here::Nothing);
            }
            Err(error) => return Err(knaller::Error::from(error).into()),
        };
        let fits = self
            .platform
            .as_ref()
            .is_none_or(|wanted| image.config.check_platform(wanted).is_ok());
        Ok(if fits {
            Here::Fit
        } else {
            Here::Other(image.config.platform)
        })
    }
}

/// What is here under a name.
enum Here {
    Nothing,
    Fit,
    /// An image for another platform than the wanted one.
    Other(Platform),
}

/// An image that is here and is not to be fetched, for another platform than the wanted one.
fn unfit(what: &str, has: &Platform, wanted: &Platform) -> CommandError {
    let message = format!("the image {what} that is here is for {has}, and {wanted} is asked for");
    CommandError::refused(knaller::Class::Image, message)
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
