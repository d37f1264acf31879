//! A machine's console, shown while it works.

use knaller::{LogSource, Machine, Name};
use tokio::sync::oneshot;

use super::transcript::Transcript;
use crate::context::Context;
use crate::error::CommandError;
use crate::ui::Ui;

/// Shows the console on standard output, from its beginning to the machine's end, once the machine has its `name`. With
/// `all` that is every byte, and what the VMM writes goes to standard error; else it is a [`Transcript`]. Without a name
/// there is nothing to show.
pub(super) async fn show(
    context: Context,
    name: oneshot::Receiver<Name>,
    all: bool,
) -> Result<(), CommandError> {
    let Ok(name) = name.await else {
        return Ok(());
    };
    let machine = context.machine(&name).await?;
    if all {
        tokio::try_join!(every_byte(context.ui, &machine), vmm(context.ui, &machine)).map(|_| ())
    } else {
        transcript(context.ui, &machine).await
    }
}

async fn every_byte(ui: Ui, machine: &Machine) -> Result<(), CommandError> {
    let mut logs = machine.logs(LogSource::Console, true).await?;
    while let Some(bytes) = logs.next().await? {
        ui.write(&bytes)?;
    }
    Ok(())
}

async fn transcript(ui: Ui, machine: &Machine) -> Result<(), CommandError> {
    let mut transcript = Transcript::default();
    let mut logs = machine.logs(LogSource::Console, true).await?;
    while let Some(bytes) = logs.next().await? {
        ui.write(&transcript.push(&bytes))?;
    }
    Ok(ui.write(&transcript.finish())?)
}

async fn vmm(ui: Ui, machine: &Machine) -> Result<(), CommandError> {
    let mut logs = machine.logs(LogSource::Vmm, true).await?;
    while let Some(bytes) = logs.next().await? {
        ui.write_error(&bytes)?;
    }
    Ok(())
}
