//! `knaller image export`.
//!
//! The invariant: a file that is written has its name only once it is there whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::{Args, ValueHint};
use images::Task;
use images::export::{ExportError, export};
use images::oci::Reference;
use images::store::Store;
use knaller::Class;
use tokio::sync::mpsc;

use super::ImageArg;
use crate::context::Context;
use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::Steps;

/// Written at a time.
const BUFFER: usize = 256 * 1024;

/// Write an image as one file
#[derive(Args, Debug)]
#[command(after_help = "\
An OCI archive: skopeo, podman, buildah and umoci read it, and so does `docker load`. It has the name that the image is \
called by; called by its id, all its names.

Examples:
  knaller image export app:1 -o app.tar
  knaller image export app:1 | docker load")]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    image: ImageArg,

    /// The file, or - for standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, default_value = "-")]
    output: PathBuf,
}

impl ExportArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), CommandError> {
        let to_stdout = self.output == Path::new("-");
        if to_stdout && io::stdout().is_terminal() {
            let message = "standard output is a terminal, and an archive is nothing to read";
            return Err(CommandError::usage(message).hint("name a file with --output, or pipe it on"));
        }
        let mut signals = Signals::watch(&Signal::ENDINGS)?;
        let (report, mut told) = mpsc::unbounded_channel();
        let task = Task::watched(move |step| {
            // Nobody watches any more: the work is being called off.
            let _ = report.send(step);
        });
        let store = context.knaller.images()?;
        let (what, output, work) = (self.image.image.clone(), self.output.clone(), task.clone());
        let mut written = pin!(tokio::task::spawn_blocking(move || {
            if to_stdout {
                write(&store, &what, io::stdout(), &work)
            } else {
                write_file(&store, &what, &output, &work)
            }
        }));
        let mut steps = Steps::start(context.ui, "writing the image");
        let mut ended = None;
        let written = loop {
            tokio::select! {
                biased;
                signal = signals.next(), if ended.is_none() => {
                    // It ends at its next step. One that waits for a reader that does not read is left to its end.
                    task.cancel();
                    ended = Some(signal);
                    if to_stdout {
                        break Ok(Ok(()));
                    }
                }
                Some(step) = told.recv() => steps.note(step),
                written = &mut written => break written,
            }
        };
        if let Some(signal) = ended {
            return Err(CommandError::Ended(signal));
        }
        written.map_err(|error| CommandError::host("the work on the images ended early", &error))??;
        steps.finish();
        if !to_stdout {
            let (image, output) = (&self.image.image, self.output.display());
            context.ui.note(format_args!("{image} is in {output}"));
        }
        Ok(())
    }
}

fn write(store: &Store, what: &str, out: impl Write, task: &Task) -> Result<(), CommandError> {
    let hold = store.adding(task).map_err(knaller::Error::from)?;
    let mut image = store.resolve(what).map_err(knaller::Error::from)?;
    let called = what.parse().ok().map(|name: Reference| name.stored());
    if let Some(name) = called.filter(|name| image.names.contains(name)) {
        image.names = vec![name];
    }
    let mut out = BufWriter::with_capacity(BUFFER, out);
    export(&hold, &image, &mut out, task).map_err(of_export)?;
    Ok(out.flush()?)
}

fn write_file(store: &Store, what: &str, path: &Path, task: &Task) -> Result<(), CommandError> {
    let broken = |error: &io::Error| CommandError::host(format!("cannot write {}", path.display()), error);
    let name = path
        .file_name()
        .ok_or_else(|| CommandError::usage(format!("{} names no file", path.display())))?;
    let mut part = name.to_owned();
    part.push(format!(".part-{}", std::process::id()));
    let part = path.with_file_name(part);
    let file = File::create_new(&part).map_err(|error| broken(&error))?;
    let written = write(store, what, &file, task).and_then(|()| {
        let named = file.sync_all().and_then(|()| fs::rename(&part, path));
        named.map_err(|error| broken(&error))
    });
    if written.is_err() {
        // What is left of it is of no use, and whoever reads the error knows of the path.
        let _ = fs::remove_file(&part);
    }
    written
}

fn of_export(error: ExportError) -> CommandError {
    match error {
        ExportError::Store(error) => knaller::Error::from(error).into(),
        ExportError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => CommandError::BrokenPipe,
        ExportError::Write(error) if error.kind() == io::ErrorKind::StorageFull => CommandError::refused(
            Class::Resources,
            "the disk is full, and nothing of the archive is kept",
        ),
        error @ (ExportError::Write(_) | ExportError::Cancelled(_)) => CommandError::of(Class::Host, &error),
    }
}
