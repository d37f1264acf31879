//! `knaller kernel rm`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;
use knaller::Class;
use serde::Serialize;

use super::with_store;
use crate::commands::each::{Done, in_turn};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::ReportArgs;

/// Remove kernels
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Their ids, or the beginnings of those, versions or names
    #[arg(value_name = "KERNEL", required = true, value_parser = NonEmptyStringValueParser::new(), add = ArgValueCandidates::new(complete::kernels))]
    kernels: Vec<String>,

    /// Even those that a machine needs for its next start
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    report: ReportArgs,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let machines = if self.force {
            Vec::new()
        } else {
            context.knaller.list().await?
        };
        in_turn(&context, self.kernels, self.report.output, async |kernel| {
            let kernel = kernel.clone();
            let bundle = with_store(&context, move |store| store.get(&kernel)).await?;
            let version = bundle.manifest().version.clone();
            let id = bundle.id().to_owned();
            if let Some(machine) = machines.iter().find(|machine| machine.kernel == id) {
                let message = format!(
                    "machine {} needs kernel {version} for its next start",
                    machine.name
                );
                return Err(
                    CommandError::refused(Class::Conflict, message).hint("--force removes it all the same")
                );
            }
            with_store(&context, move |store| store.remove(&bundle)).await?;
            let sentence = format!("kernel {version} is removed");
            Ok(Some(Done::with("removed", sentence, Removed { id, version })))
        })
        .await
    }
}

#[derive(Serialize)]
struct Removed {
    id: String,
    version: String,
}
