//! `knaller inspect`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::{Machine, Name, State};

use super::machine::MachineView;
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::OutputArgs;

/// Show all there is to know about machines
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The machines' names
    #[arg(value_name = "NAME", required = true, add = ArgValueCandidates::new(complete::machines))]
    names: Vec<Name>,

    /// Ask the guest for its memory, disk and load too
    #[arg(short, long)]
    stats: bool,

    #[command(flatten)]
    output: OutputArgs,
}

impl InspectArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let mut views = Vec::new();
        for name in &self.names {
            views.push(view(&context.machine(name).await?, self.stats).await?);
        }
        context.ui.inspect(&views, self.output.output)
    }
}

async fn view(machine: &Machine, stats: bool) -> Result<MachineView, CommandError> {
    let info = machine.info().await?;
    let guest = if stats && info.state == State::Running {
        Some(machine.status().await?)
    } else {
        None
    };
    Ok(MachineView::with_details(info, machine.folder(), guest))
}
