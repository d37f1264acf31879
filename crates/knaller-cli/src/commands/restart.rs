//! `knaller restart`.

use clap::Args;
use knaller::{StartEvent, StartOptions};
use serde::Serialize;

use super::each::{Done, each};
use crate::args::grace::GraceArg;
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::{ReportArgs, Timeline, human};

/// Stop machines in order and start them again with the disks they have
#[derive(Args, Debug)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    machines: MachineArgs,

    #[command(flatten)]
    grace: GraceArg,

    #[command(flatten)]
    report: ReportArgs,
}

impl RestartArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let stop = self.grace.options();
        let names = self.machines.existing(&context).await?;
        each(&context, names, "restarting", self.report.output, async |name| {
            let mut warnings = Vec::new();
            let mut observer = |event: StartEvent| warnings.extend(event.warning());
            let machine = context.machine(name).await?;
            let timeline = machine
                .restart(stop, StartOptions::default(), &mut observer)
                .await?;
            let mut sentence = format!("{name} is up after {}", human::span(timeline.total));
            for warning in &warnings {
                sentence += &format!("; {warning}");
            }
            let timings = Timeline::new(&timeline);
            Ok(Some(Done::with(
                "restarted",
                sentence,
                Restarted { timings, warnings },
            )))
        })
        .await
    }
}

#[derive(Serialize)]
struct Restarted {
    timings: Timeline,
    warnings: Vec<String>,
}
