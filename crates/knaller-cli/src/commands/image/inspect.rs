//! `knaller image inspect`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;
use images::store::StoreError;

use super::details::ImageDetails;
use super::with_store;
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// Show all there is to know about images
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Their names or ids, or the beginnings of ids
    #[arg(value_name = "IMAGE", required = true, value_parser = NonEmptyStringValueParser::new(), add = ArgValueCandidates::new(complete::images))]
    images: Vec<String>,

    #[command(flatten)]
    output: OutputArgs,
}

impl InspectArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let images = self.images;
        let found = with_store(&context, move |store| {
            let all = store.list()?;
            let find = |what: &String| {
                let image = store.resolve(what)?;
                let listed = all.iter().find(|listed| listed.image.digest == image.digest);
                let listed = listed.ok_or_else(|| StoreError::Unknown(what.clone()))?;
                Ok((listed.clone(), store.rootfs(&image)))
            };
            images.iter().map(find).collect::<Result<Vec<_>, StoreError>>()
        });
        let details: Vec<_> = found
            .await?
            .iter()
            .map(|(listed, rootfs)| {
                ImageDetails::new(listed, rootfs.as_ref(), |id| context.knaller.image_users(id))
            })
            .collect();
        context.ui.inspect(&details, self.output.output)
    }
}
