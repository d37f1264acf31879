//! `knaller snapshot inspect`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::Name;

use super::view::SnapshotView;
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// Show all there is to know about snapshots
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The snapshots' names
    #[arg(value_name = "SNAPSHOT", required = true, add = ArgValueCandidates::new(complete::snapshots))]
    names: Vec<Name>,

    #[command(flatten)]
    output: OutputArgs,
}

impl InspectArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let mut views = Vec::new();
        for name in &self.names {
            views.push(SnapshotView(context.knaller.snapshot(name).await?));
        }
        context.ui.inspect(&views, self.output.output)
    }
}
