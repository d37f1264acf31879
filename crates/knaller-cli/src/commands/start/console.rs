//! A machine's console, shown while it works.

use knaller::{LogSource, Machine, Name};
use tokio::sync::oneshot;

use crate::context::Context;
use crate::error::CommandError;

/// Shows the console on standard output, from its beginning to the machine's end, once the machine has its `name`; with
/// `vmm`, also what the VMM writes, on standard error. Without a name there is nothing to show.
pub(super) async fn show(
    context: Context,
    name: oneshot::Receiver<Name>,
    vmm: bool,
) -> Result<(), CommandError> {
    let Ok(name) = name.await else {
        return Ok(());
    };
    let machine = context.machine(&name).await?;
    let ui = context.ui;
    let console = follow(&machine, LogSource::Console, |bytes| ui.write(bytes));
    if vmm {
        let log = follow(&machine, LogSource::Vmm, |bytes| ui.write_error(bytes));
        tokio::try_join!(console, log).map(|_| ())
    } else {
        console.await
    }
}

async fn follow(
    machine: &Machine,
    source: LogSource,
    write: impl Fn(&[u8]) -> std::io::Result<()>,
) -> Result<(), CommandError> {
    let mut logs = machine.logs(source, true).await?;
    while let Some(bytes) = logs.next().await? {
        write(&bytes)?;
    }
    Ok(())
}
