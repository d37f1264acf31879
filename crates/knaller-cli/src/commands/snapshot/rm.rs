//! `knaller snapshot rm`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::Name;

use crate::complete;
use crate::context::Context;
use crate::error::CommandError;

/// Remove snapshots; machines made of them live on
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The snapshots' names
    #[arg(value_name = "SNAPSHOT", required = true, add = ArgValueCandidates::new(complete::snapshots))]
    names: Vec<Name>,

    /// With all snapshots that build on these
    #[arg(short, long)]
    recursive: bool,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        for name in self.names {
            for removed in context.knaller.remove_snapshot(&name, self.recursive).await? {
                context.ui.note(format_args!("snapshot {removed} is removed"));
            }
        }
        Ok(())
    }
}
