//! `knaller snapshot merge`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::Name;

use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::{Progress, human};

/// Make snapshots whole that build on others
#[derive(Args, Debug)]
#[command(after_help = "\
Afterwards what it was built on can be removed; what builds on it still does. Killed at any moment, it leaves the snapshot as it was \
or as it is to be. One that builds on none stays as it is.")]
pub(crate) struct MergeArgs {
    /// The snapshots' names
    #[arg(value_name = "SNAPSHOT", required = true, add = ArgValueCandidates::new(complete::snapshots))]
    names: Vec<Name>,
}

impl MergeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        for name in &self.names {
            let progress = Progress::start(context.ui, &format!("merging {name}"));
            let merged = tokio::select! {
                merged = context.knaller.merge_snapshot(name) => merged?,
                signal = signals.next() => return Err(CommandError::Ended(signal)),
            };
            drop(progress);
            context.ui.note(format_args!(
                "snapshot {name} needs no other, {}",
                human::bytes(merged.size)
            ));
        }
        Ok(())
    }
}
