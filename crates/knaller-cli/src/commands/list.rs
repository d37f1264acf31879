//! `knaller list`.

use clap::Args;
use knaller::{MachineInfo, State};

use super::machine::MachineView;
use crate::args::filter::FilterArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::{Format, OutputArgs};

/// List the machines
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only those that run
    #[arg(short, long)]
    running: bool,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machines = context.knaller.list().await?;
        let wanted = machines
            .into_iter()
            .filter(|machine| !self.running || machine.state != State::Stopped)
            .filter(|machine| self.filter.take(machine));
        show(&context, wanted, self.output.output)
    }
}

/// Writes machines as a list.
pub(super) fn show(
    context: &Context,
    machines: impl IntoIterator<Item = MachineInfo>,
    format: Format,
) -> Result<(), CommandError> {
    let views: Vec<_> = machines.into_iter().map(MachineView::new).collect();
    context.ui.list(
        &views,
        format,
        "There is no machine yet: `knaller start` makes one.",
    )
}
