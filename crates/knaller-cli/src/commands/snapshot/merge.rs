//! `knaller snapshot merge`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::Name;
use serde::Serialize;

use crate::commands::each::{Done, in_turn};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::{Progress, ReportArgs, human};

/// Make snapshots whole that build on others
#[derive(Args, Debug)]
#[command(after_help = "\
Afterwards what it was built on can be removed; what builds on it still does. Killed at any moment, it leaves the snapshot as it was \
or as it is to be. One that builds on none stays as it is.")]
pub(crate) struct MergeArgs {
    /// The snapshots' names
    #[arg(value_name = "SNAPSHOT", required = true, add = ArgValueCandidates::new(complete::snapshots))]
    names: Vec<Name>,

    #[command(flatten)]
    report: ReportArgs,
}

impl MergeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        in_turn(&context, self.names, self.report.output, async |name| {
            let progress = Progress::start(context.ui, &format!("merging {name}"));
            let merged = tokio::select! {
                merged = context.knaller.merge_snapshot(name) => merged?,
                signal = signals.next() => return Err(CommandError::Ended(signal)),
            };
            drop(progress);
            let size = merged.size;
            let sentence = format!("snapshot {name} needs no other, {}", human::bytes(size));
            Ok(Some(Done::with("merged", sentence, Merged { size })))
        })
        .await
    }
}

#[derive(Serialize)]
struct Merged {
    /// Of the disk, bytes.
    size: u64,
}
