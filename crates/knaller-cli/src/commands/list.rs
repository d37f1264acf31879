//! `knaller list`.

use clap::Args;
use knaller::State;

use super::damaged::{Row, explain};
use super::machine::MachineView;
use crate::args::filter::{self, FilterArgs};
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::{Listed as _, OutputArgs};

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
        let machines = machines
            .into_iter()
            .filter(|machine| !self.running || machine.state != State::Stopped)
            .filter(|machine| self.filter.take(machine))
            .map(|machine| Row::whole(MachineView::new(machine)));
        let damaged = context.knaller.damaged().await?;
        let damaged = damaged
            .into_iter()
            .filter(|machine| !self.running || machine.running)
            .filter(|machine| self.filter.take(machine))
            .map(Row::damaged);
        let mut rows: Vec<_> = machines.chain(damaged).collect();
        rows.sort_by(|one, other| one.name().cmp(other.name()));
        let format = self.output.output;
        let otherwise = if self.running {
            "No machine runs."
        } else {
            "There is no machine yet: `knaller start` makes one."
        };
        context
            .ui
            .list(&rows, format, &filter::nothing(&self.filter.filters, otherwise))?;
        explain(context.ui, &rows, format, "knaller rm --force");
        Ok(())
    }
}
