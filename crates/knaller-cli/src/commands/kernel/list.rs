//! `knaller kernel list`.

use clap::Args;
use images::bundle::{KernelStore, StoreError};

use super::view::KernelView;
use super::with_store;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// List the kernels
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let kernels = with_store(&context, views).await?;
        context.ui.list(
            &kernels,
            self.output.output,
            "There is no kernel yet: `knaller kernel import` makes one.",
        )
    }
}

fn views(store: &KernelStore) -> Result<Vec<KernelView>, StoreError> {
    let names = store.names()?;
    let default = store.default_bundle().ok();
    let default = default.as_ref().map(|bundle| bundle.id());
    Ok(store
        .list()?
        .iter()
        .map(|bundle| KernelView::new(bundle, &names, default))
        .collect())
}
