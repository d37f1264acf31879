//! `knaller wait`.

use clap::Args;
use knaller::{Exit, Name};

use crate::args::machine::MachineArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::Ui;

/// Wait until a machine has stopped; exit as its command did
#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    machine: MachineArg,
}

impl WaitArgs {
    pub(crate) async fn run(self, context: Context) -> Result<u8, CommandError> {
        let machine = context.machine(&self.machine.name).await?;
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        tokio::select! {
            exit = machine.wait() => Ok(say(context.ui, machine.name(), &exit?)),
            signal = signals.next() => Ok(signal.exit_code()),
        }
    }
}

/// Tells how a machine ended where that is not plain from the code, which it gives.
pub(crate) fn say(ui: Ui, name: &Name, exit: &Exit) -> u8 {
    match exit {
        Exit::Panicked(line) => ui.warning(format_args!("the kernel of {name} panicked: {line}")),
        Exit::Command(guest_protocol::Exit::NotStarted(reason)) => {
            ui.warning(format_args!(
                "the command of {name} could not be started: {reason}"
            ));
        }
        Exit::Command(guest_protocol::Exit::Signal(signal)) => {
            ui.note(format_args!("the command of {name} was ended by signal {signal}"));
        }
        Exit::Lost => ui.warning(format_args!(
            "{name} ended without a word: it was killed, or its VMM died"
        )),
        Exit::Command(guest_protocol::Exit::Code(_)) | Exit::Off => {}
    }
    exit.code()
}
