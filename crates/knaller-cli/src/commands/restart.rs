//! `knaller restart`.

use clap::Args;
use knaller::{StartEvent, StartOptions};

use super::each::each;
use crate::args::grace::GraceArg;
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::human;

/// Stop machines in order and start them again with the disks they have
#[derive(Args, Debug)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    machines: MachineArgs,

    #[command(flatten)]
    grace: GraceArg,
}

impl RestartArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let stop = self.grace.options();
        let names = self.machines.existing(&context).await?;
        each(&context, names, "restarting", async |name| {
            let mut warnings = String::new();
            let mut observer = |event| match event {
                StartEvent::Warning { step, message } => {
                    warnings += &format!("; its guest went on without {step}: {message}");
                }
                StartEvent::Exposed { message } | StartEvent::Hindered { message } => {
                    warnings += &format!("; {message}");
                }
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
