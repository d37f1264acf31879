//! `knaller kernel list`.

use clap::Args;
use images::bundle::{KernelStore, StoreError};
use knaller::{Filter, MachineInfo};

use super::view::KernelView;
use super::with_store;
use crate::args::filter;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// List the kernels
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Those that meet this: name=PART of a name or the version, state=used or state=unused
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "state"], filter::USES))]
    filters: Vec<Filter>,

    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machines = context.knaller.list().await?;
        let mut kernels = with_store(&context, move |store| views(store, &machines)).await?;
        kernels.retain(|kernel| Filter::all_match(&self.filters, kernel));
        context.ui.list(
            &kernels,
            self.output.output,
            &filter::nothing(
                &self.filters,
                "There is no kernel yet: `knaller kernel import` makes one.",
            ),
        )
    }
}

fn views(store: &KernelStore, machines: &[MachineInfo]) -> Result<Vec<KernelView>, StoreError> {
    let names = store.names()?;
    let default = store.default_bundle().ok();
    let default = default.as_ref().map(|bundle| bundle.id());
    Ok(store
        .list()?
        .iter()
        .map(|bundle| KernelView::new(bundle, &names, default, machines))
        .collect())
}
