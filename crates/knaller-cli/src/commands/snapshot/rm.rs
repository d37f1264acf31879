//! `knaller snapshot rm`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::Name;
use serde::Serialize;

use crate::commands::each::{Done, in_turn};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Remove snapshots; machines made of them live on
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The snapshots' names
    #[arg(value_name = "SNAPSHOT", required = true, add = ArgValueCandidates::new(complete::snapshots))]
    names: Vec<Name>,

    /// With all snapshots that build on these
    #[arg(short, long)]
    recursive: bool,

    #[command(flatten)]
    report: ReportArgs,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        in_turn(&context, self.names, self.report.output, async |name| {
            let removed = context.knaller.remove_snapshot(name, self.recursive).await?;
            let names: Vec<_> = removed.iter().map(Name::as_str).collect();
            let sentence = match names.as_slice() {
                [name] => format!("snapshot {name} is removed"),
                names => format!("snapshots {} are removed", names.join(", ")),
            };
            Ok(Some(Done::with(
                "removed",
                sentence,
                Removed { snapshots: removed },
            )))
        })
        .await
    }
}

#[derive(Serialize)]
struct Removed {
    /// With those that built on it.
    snapshots: Vec<Name>,
}
