//! `knaller snapshot list`.

use clap::Args;

use super::view::SnapshotView;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// List the snapshots
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let snapshots = context.knaller.snapshots().await?;
        let views: Vec<SnapshotView> = snapshots.into_iter().map(SnapshotView).collect();
        context.ui.list(
            &views,
            self.output.output,
            "There is no snapshot yet: `knaller snapshot create` makes one.",
        )
    }
}
