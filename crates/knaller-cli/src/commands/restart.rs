//! `knaller restart`.

use std::time::Duration;

use clap::Args;
use knaller::{StartEvent, StartOptions, StopOptions};

use super::each::each;
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::human;

/// Stop machines in order and start them again with the disks they have
#[derive(Args, Debug)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    machines: MachineArgs,

    /// Seconds a machine's command has to end; else what `start` was told
    #[arg(
        short,
        long,
        visible_alias = "time",
        visible_short_alias = 't',
        value_name = "SECONDS"
    )]
    grace: Option<u64>,
}

impl RestartArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let stop = StopOptions {
            grace: self.grace.map(Duration::from_secs),
        };
        let names = self.machines.existing(&context).await?;
        each(&context, names, "restarting", async |name| {
            let mut warnings = String::new();
            let mut observer = |event| match event {
                StartEvent::Warning { step, message } => {
                    warnings += &format!("; its guest went on without {step}: {message}");
                }
                StartEvent::Exposed { message } => warnings += &format!("; {message}"),
                _ => {}
            };
            let machine = context.machine(name).await?;
            let timeline = machine
                .restart(stop, StartOptions::default(), &mut observer)
                .await?;
            let took = human::span(timeline.total);
            Ok(Some(format!("{name} is up after {took}{warnings}")))
        })
        .await
    }
}
