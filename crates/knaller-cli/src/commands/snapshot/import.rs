//! `knaller snapshot import`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::pin::pin;

use clap::{Args, ValueHint};
use images::Task;
use knaller::Name;
use tokio::sync::mpsc;

use crate::archive::Stdin;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::Steps;

/// Bring in a snapshot of another host
#[derive(Args, Debug)]
#[command(after_help = "\
A machine of a snapshot runs what somebody else has put into its memory: import only what you would run. The image of its machine \
must be here too: `knaller image pull`, or `knaller image export` there and `knaller image import` here.

Examples:
  knaller snapshot import db-ready.tar.zst
  knaller snapshot import - --name db < db-ready.tar.zst")]
pub(crate) struct ImportArgs {
    /// A file of `knaller snapshot export`, or - for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,

    /// What to call it, instead of what it was called
    #[arg(long, value_name = "SNAPSHOT")]
    name: Option<Name>,
}

impl ImportArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let (input, leash): (Box<dyn Read + Send>, _) = if self.file.as_os_str() == "-" {
            let (stdin, leash) = Stdin::new("knaller snapshot import - < db-ready.tar.zst")?;
            (Box::new(stdin), Some(leash))
        } else {
            let what = format!("cannot open {}", self.file.display());
            let file = File::open(&self.file).map_err(|error| CommandError::host(what, &error))?;
            (Box::new(file), None)
        };
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let (report, mut told) = mpsc::unbounded_channel();
        let task = Task::watched(move |step| {
            // Nobody watches any more: the work is being called off.
            let _ = report.send(step);
        });
        let (knaller, work) = (context.knaller.clone(), task.clone());
        let mut imported = pin!(tokio::task::spawn_blocking(move || {
            knaller.import_snapshot(input, self.name, &work)
        }));
        let mut steps = Steps::start(context.ui, "unpacking the snapshot");
        let (mut leash, mut ended) = (leash, None);
        let imported = loop {
            tokio::select! {
                biased;
                signal = signals.next(), if ended.is_none() => {
                    task.cancel();
                    drop(leash.take());
                    ended = Some(signal);
                }
                Some(step) = told.recv() => steps.note(step),
                imported = &mut imported => break imported,
            }
        };
        if let Some(signal) = ended {
            return Err(CommandError::Ended(signal));
        }
        let info = imported
            .map_err(|error| CommandError::host("the work on the snapshot ended early", &error))??;
        steps.finish();
        context.ui.note(format_args!(
            "snapshot {} of {} is imported",
            info.name, info.machine
        ));
        Ok(())
    }
}
