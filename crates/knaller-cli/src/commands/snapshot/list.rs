//! `knaller snapshot list`.

use clap::Args;
use knaller::Filter;

use super::view::SnapshotView;
use crate::args::filter;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// List the snapshots
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Those that meet this: name=PART, label=NAME[=VALUE] of the machine, image=ID, vmm=VMM
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "label", "image", "vmm"]))]
    filters: Vec<Filter>,

    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let snapshots = context.knaller.snapshots().await?;
        let wanted = snapshots
            .into_iter()
            .filter(|snapshot| Filter::all_match(&self.filters, snapshot));
        let views: Vec<SnapshotView> = wanted.map(SnapshotView).collect();
        context.ui.list(
            &views,
            self.output.output,
            "There is no snapshot yet: `knaller snapshot create` makes one.",
        )
    }
}
