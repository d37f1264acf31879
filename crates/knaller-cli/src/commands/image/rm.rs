//! `knaller image rm`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;
use images::oci::{Digest, Reference};
use images::store::{Removed, StoreError};
use knaller::Error;
use serde::Serialize;

use crate::commands::each::{Done, in_turn};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::{ReportArgs, human};

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

    #[command(flatten)]
    report: ReportArgs,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        in_turn(&context, self.images.clone(), self.report.output, async |what| {
            let removed = self.remove(&context, what).await?;
            let sentences: Vec<_> = removed.iter().map(told).collect();
            let gone = Gone {
                names: removed
                    .iter()
                    .flat_map(|removed| &removed.names)
                    .map(Reference::familiar)
                    .collect(),
                images: removed
                    .iter()
                    .filter_map(|removed| removed.image.as_ref())
                    .map(Digest::to_string)
                    .collect(),
            };
            let done = Done::with("removed", sentences.join("; "), gone);
            Ok((!removed.is_empty()).then_some(done))
        })
        .await
    }

    async fn remove(&self, context: &Context, what: &str) -> knaller::Result<Vec<Removed>> {
        let names = match context.knaller.remove_image(what).await {
            Ok(removed) => return Ok(vec![removed]),
            Err(Error::Store(error)) if self.force => match *error {
                StoreError::Unknown(_) => return Ok(Vec::new()),
                StoreError::SeveralNames { names, .. } => names,
                error => return Err(error.into()),
            },
            Err(error) => return Err(error),
        };
        let mut removed = Vec::new();
        for name in names {
            removed.push(context.knaller.remove_image(&name).await?);
        }
        Ok(removed)
    }
}

#[derive(Serialize)]
struct Gone {
    names: Vec<String>,
    /// The ids of those that had no other name.
    images: Vec<String>,
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
