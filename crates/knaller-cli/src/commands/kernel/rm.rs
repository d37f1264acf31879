//! `knaller kernel rm`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use clap_complete::engine::ArgValueCandidates;
use knaller::Class;

use super::with_store;
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;

/// Remove kernels
#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// Their ids, or the beginnings of those, versions or names
    #[arg(value_name = "KERNEL", required = true, value_parser = NonEmptyStringValueParser::new(), add = ArgValueCandidates::new(complete::kernels))]
    kernels: Vec<String>,

    /// Even those that a machine needs for its next start
    #[arg(short, long)]
    force: bool,
}

impl RmArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machines = if self.force {
            Vec::new()
        } else {
            context.knaller.list().await?
        };
        for kernel in self.kernels {
            let bundle = with_store(&context, move |store| store.get(&kernel)).await?;
            let version = bundle.manifest().version.clone();
            if let Some(machine) = machines.iter().find(|machine| machine.kernel == bundle.id()) {
                let message = format!(
                    "machine {} needs kernel {version} for its next start",
                    machine.name
                );
                return Err(
                    CommandError::refused(Class::Conflict, message).hint("--force removes it all the same")
                );
            }
            with_store(&context, move |store| store.remove(&bundle)).await?;
            context.ui.note(format_args!("kernel {version} is removed"));
        }
        Ok(())
    }
}
