//! `knaller image rm`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;
use images::oci::Reference;
use images::store::{Removed, StoreError};
use knaller::Error;

use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::human;

/// Remove names of images, and images with their last name
#[derive(Args, Debug)]
#[command(
    after_help = "An image that a machine was made of stays, by whatever name it is called: remove the machine first."
)]
pub(crate) struct RmArgs {
    /// Their names or ids, or the beginnings of ids
    #[arg(value_name = "IMAGE", required = true, value_parser = NonEmptyStringValueParser::new(), add = ArgValueCandidates::new(complete::images))]
    images: Vec<String>,

    /// All names of an image that is called by its id, and do not mind images that are gone
    #[arg(short, long)]
    force: bool,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let mut code = 0;
        for what in &self.images {
            // One that fails holds up no other.
            if let Err(error) = self.remove(&context, what).await {
                let failed = context.ui.error(&CommandError::from(error).about(what));
                code = if code == 0 { failed } else { code };
            }
        }
        Ok(code)
    }

    async fn remove(&self, context: &Context, what: &str) -> knaller::Result<()> {
        let removed = context.knaller.remove_image(what).await;
        let names = match removed {
            Ok(removed) => {
                context.ui.note(told(&removed));
                return Ok(());
            }
            Err(Error::Store(error)) if self.force => match *error {
                StoreError::Unknown(_) => return Ok(()),
                StoreError::SeveralNames { names, .. } => names,
                error => return Err(error.into()),
            },
            Err(error) => return Err(error),
        };
        for name in names {
            let removed = context.knaller.remove_image(&name).await?;
            context.ui.note(told(&removed));
        }
        Ok(())
    }
}

/// What a removal came to.
fn told(removed: &Removed) -> String {
    let names: Vec<_> = removed.names.iter().map(Reference::familiar).collect();
    let Some(image) = &removed.image else {
        return format!(
            "{} is removed; the image has other names and stays",
            names.join(", ")
        );
    };
    let what = if names.is_empty() {
        image.short().to_owned()
    } else {
        names.join(", ")
    };
    match &removed.collected {
        Some(collected) => format!(
            "{what} is removed: {} are free again",
            human::bytes(collected.bytes)
        ),
        None => format!("{what} is removed; its room is free when the image that comes in just now is there"),
    }
}
