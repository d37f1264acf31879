//! `knaller supervise`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use knaller::{Name, Supervised, SupervisedKind};

use super::events::{Lines, how, moment};
use crate::complete;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::human;

/// Keep machines as their --restart policies say, until Ctrl-C
#[derive(Args, Debug)]
#[command(after_help = "\
A machine that was started with --restart and has ended is started again after a while that grows while it ends soon again; one that \
somebody has stopped stays so. Machines that run when this begins are adopted, whoever started them, and all run on when it ends, \
even if it is killed: the next one goes on where it was. `knaller inspect` shows how often a machine was restarted. \
`knaller generate systemd` writes a unit that runs this. As JSON it is one object a line: time, time_ns, name, event (adopted, ended, \
waiting, restarted, resting, failed), and what belongs to it.")]
pub(crate) struct SuperviseArgs {
    /// The machines' names; all with a policy if there is none
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::machines))]
    names: Vec<Name>,

    /// How to write each line
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Lines,
}

impl SuperviseArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        for name in &self.names {
            context.machine(name).await?;
        }
        let mut supervisor = context.knaller.supervise(self.names).await?;
        loop {
            let told = tokio::select! {
                told = supervisor.next() => told?,
                _ = signals.next() => return Ok(0),
            };
            context.ui.print(&self.output.line(&told, told.time_ns, text)?)?;
        }
    }
}

fn text(told: &Supervised) -> String {
    let what = match &told.kind {
        SupervisedKind::Adopted { pid, .. } => format!("is watched (VMM {pid})"),
        SupervisedKind::Ended { exit, .. } => format!("has ended ({})", how(exit)),
        SupervisedKind::Waiting { delay_ms } => {
            let delay = human::span(std::time::Duration::from_millis(*delay_ms));
            format!("starts again in {delay}")
        }
        SupervisedKind::Restarted { restarts: 1 } => "was restarted for the first time".to_owned(),
        SupervisedKind::Restarted { restarts } => format!("was restarted, {restarts} times by now"),
        SupervisedKind::Resting { reason } => format!("stays stopped: {reason}"),
        SupervisedKind::Failed { message } => format!("failed, and is tried again: {message}"),
        other => format!("{other:?}"),
    };
    format!("{} {} {what}", moment(told.time_ns), told.name)
}
