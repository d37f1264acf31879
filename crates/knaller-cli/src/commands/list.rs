//! `knaller list`.

use clap::Args;
use knaller::State;

use super::machine::MachineView;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// List the machines
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only those that run
    #[arg(short, long)]
    running: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let machines = context.knaller.list().await?;
        let wanted = machines
            .into_iter()
            .filter(|machine| !self.running || machine.state != State::Stopped);
        let views: Vec<_> = wanted.map(MachineView::new).collect();
        context.ui.list(
            &views,
            self.output.output,
            "There is no machine yet: `knaller start` makes one.",
        )
    }
}
