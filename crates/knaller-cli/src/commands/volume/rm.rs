//! `knaller volume rm`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::Name;

use crate::complete;
use crate::context::Context;
use crate::error::CommandError;

/// Remove volumes with all that is on them
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The volumes' names
    #[arg(value_name = "NAME", required = true, add = ArgValueCandidates::new(complete::volumes))]
    names: Vec<Name>,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        for name in self.names {
            context.knaller.remove_volume(&name).await?;
            context.ui.note(format_args!("volume {name} is removed"));
        }
        Ok(())
    }
}
