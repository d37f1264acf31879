//! Staying with a machine until it has stopped.
//!
//! The first Ctrl-C stops it in order, the second kills it. Whatever ends the stay ends the machine: nobody is left
//! with one that he believes is gone.

use std::pin::pin;

use knaller::{Error, Exit, Machine, StopOptions};
use tokio::task::JoinHandle;

use crate::commands::{stop, wait};
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::Signals;
use crate::ui::Ui;

/// Until `machine` has stopped and `console` has shown all. The exit code is its command's.
pub(super) async fn stay(
    context: &Context,
    machine: &Machine,
    mut signals: Signals,
    mut console: JoinHandle<Result<(), CommandError>>,
) -> Result<u8, CommandError> {
    let ui = context.ui;
    let mut waiting = pin!(machine.wait());
    let mut shown = None;
    let mut stopped = false;
    let exit = loop {
        tokio::select! {
            exit = &mut waiting => break exit?,
            ended = &mut console, if shown.is_none() => {
                let ended = flatten(ended);
                if ended.is_err() {
                    // Nobody sees the machine any more.
                    stop_or_kill(ui, machine, &mut signals).await?;
                }
                shown = Some(ended);
            }
            _ = signals.next() => {
                stop_or_kill(ui, machine, &mut signals).await?;
                stopped = true;
                break waiting.await?;
            }
        }
    };
    match shown {
        Some(ended) => ended?,
        None => flatten(console.await)?,
    }
    if exit == Exit::Off && !stopped {
        ui.note(format_args!("{} has stopped", machine.name()));
    }
    Ok(wait::say(ui, machine.name(), &exit))
}

fn flatten(ended: Result<Result<(), CommandError>, tokio::task::JoinError>) -> Result<(), CommandError> {
    ended.unwrap_or_else(|error| Err(CommandError::host("cannot show the console", &error)))
}

async fn stop_or_kill(ui: Ui, machine: &Machine, signals: &mut Signals) -> Result<(), CommandError> {
    let name = machine.name();
    // Behind the `^C` that the terminal shows; no line that turns, since the next `^C` would break it.
    ui.note(format_args!("\nstopping {name}; Ctrl-C again kills it"));
    let stopped = tokio::select! {
        outcome = machine.stop(StopOptions::default()) => outcome.map(|outcome| stop::told(name, outcome)),
        _ = signals.next() => machine.kill().await.map(|_| format!("{name} was killed")),
    };
    match stopped {
        Ok(outcome) => ui.note(outcome),
        // It was quicker.
        Err(Error::NotRunning(_) | Error::NotFound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
