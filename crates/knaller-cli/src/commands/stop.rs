//! `knaller stop`.

use clap::Args;
use knaller::{Name, StopOutcome};
use serde::Serialize;

use super::each::{Done, each};
use crate::args::grace::GraceArg;
use crate::args::machine::MachineArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::{ReportArgs, warning};

/// Stop machines in order
#[derive(Args, Debug)]
#[command(after_help = "\
The machine's command gets its stop signal and has a while to end; then it is killed, the disks are written out, and the machine powers \
off. A guest whose init does not answer gets Ctrl-Alt-Del, and one that does not heed that is killed. Which it was is said.")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    machines: MachineArgs,

    #[command(flatten)]
    grace: GraceArg,

    #[command(flatten)]
    report: ReportArgs,
}

impl StopArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let options = self.grace.options();
        let names = self.machines.running(&context).await?;
        each(&context, names, "stopping", self.report.output, async |name| {
            let outcome = context.machine(name).await?.stop(options).await?;
            Ok(Some(Done::with(
                "stopped",
                told(name, outcome),
                Stopped { how: outcome },
            )))
        })
        .await
    }
}

#[derive(Serialize)]
struct Stopped {
    how: StopOutcome,
}

/// How a machine was stopped, as a line.
pub(crate) fn told(name: &Name, outcome: StopOutcome) -> String {
    match outcome {
        StopOutcome::Orderly => format!("{name} has stopped in order"),
        StopOutcome::CommandKilled => warning(format_args!(
            "{name} has stopped, but its command did not end in its time and was killed"
        )),
        StopOutcome::CtrlAltDel => warning(format_args!(
            "{name} was powered off by Ctrl-Alt-Del, since its init could not be asked"
        )),
        StopOutcome::StaysStopped => {
            format!("{name} had ended, and is not started again")
        }
        StopOutcome::Killed => warning(format_args!(
            "{name} did not stop when asked and was killed; its disk may lack what it wrote last"
        )),
    }
}
