//! `knaller snapshot list`.

use clap::Args;
use knaller::Filter;

use super::view::SnapshotView;
use crate::args::filter;
use crate::commands::damaged::{Row, explain};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::{Listed as _, OutputArgs};

/// List the snapshots
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Those that meet this: name=PART, label=NAME[=VALUE] of the machine, image=ID, vmm=VMM, state=damaged
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = filter::on(&["name", "label", "image", "vmm", "state"], &["damaged"]))]
    filters: Vec<Filter>,

    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let snapshots = context.knaller.snapshots().await?;
        let snapshots = snapshots
            .into_iter()
            .filter(|snapshot| Filter::all_match(&self.filters, snapshot))
            .map(|snapshot| Row::whole(SnapshotView(snapshot)));
        let damaged = context.knaller.damaged_snapshots().await?;
        let damaged = damaged
            .into_iter()
            .filter(|snapshot| Filter::all_match(&self.filters, snapshot))
            .map(Row::damaged);
        let mut rows: Vec<_> = snapshots.chain(damaged).collect();
        rows.sort_by(|one, other| one.name().cmp(other.name()));
        let format = self.output.output;
        context.ui.list(
            &rows,
            format,
            &filter::nothing(
                &self.filters,
                "There is no snapshot yet: `knaller snapshot create` makes one.",
            ),
        )?;
        explain(context.ui, &rows, format, "knaller snapshot rm");
        Ok(())
    }
}
