//! `knaller volume rm`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::Name;

use crate::commands::each::{Done, in_turn};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Remove volumes with all that is on them
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The volumes' names
    #[arg(value_name = "NAME", required = true, add = ArgValueCandidates::new(complete::volumes))]
    names: Vec<Name>,

    #[command(flatten)]
    report: ReportArgs,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        in_turn(&context, self.names, self.report.output, async |name| {
            context.knaller.remove_volume(name).await?;
            Ok(Some(Done::new("removed", format!("volume {name} is removed"))))
        })
        .await
    }
}
