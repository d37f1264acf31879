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
    #[arg(value_name = "SNAPSHOT", required = true, add = ArgValueCandidates::new(complete::snapshots))]
    names: Vec<Name>,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        for name in self.names {
            context.knaller.remove_snapshot(&name).await?;
            context.ui.note(format_args!("snapshot {name} is removed"));
        }
        Ok(())
    }
}
