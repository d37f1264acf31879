//! Archives: what is written to a file or to standard output, and what is read from one or from standard input.
//!
//! The invariant: a file that is written has its name only once it is there whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;

use images::Task;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

use crate::error::CommandError;
use crate::signals::{Signal, Signals};
use crate::ui::{Steps, Ui};

/// Written at a time.
const BUFFER: usize = 256 * 1024;

/// Where an archive goes.
#[derive(Debug)]
pub(crate) enum Output {
    Stdout,
    File(PathBuf),
}

impl Output {
    /// `-` is standard output, which must be none that a person reads.
    pub(crate) fn at(path: PathBuf) -> Result<Self, CommandError> {
        if path != Path::new("-") {
            return Ok(Self::File(path));
        }
        if io::stdout().is_terminal() {
            let message = "standard output is a terminal, and an archive is nothing to read";
            return Err(CommandError::usage(message).hint("name a file with --output, or pipe it on"));
        }
        Ok(Self::Stdout)
    }

    /// Has `work` write the archive of `what`, shows its steps, and calls it off when a signal comes.
    pub(crate) async fn write(
        self,
        ui: Ui,
        what: &str,
        doing: &str,
        work: impl FnOnce(&mut dyn Write, &Task) -> Result<(), CommandError> + Send + 'static,
    ) -> Result<(), CommandError> {
        let (called_off, place) = match &self {
            // One that waits for a reader that does not read is left to its end.
            Self::Stdout => (CalledOff::IsLeft, None),
            Self::File(path) => (CalledOff::Ends(None), Some(path.display().to_string())),
        };
        let write = move |task: &Task| match self {
            Self::Stdout => buffered(io::stdout(), task, work),
            Self::File(path) => write_file(&path, task, work),
        };
        watched(ui, doing, called_off, write).await?;
        if let Some(place) = place {
            ui.note(format_args!("{what} is in {place}"));
        }
        Ok(())
    }
}

/// What becomes of work that is called off.
#[derive(Debug)]
pub(crate) enum CalledOff {
    /// It ends at its next step, once this end of what it waits for is let go of.
    Ends(Option<OwnedFd>),
    IsLeft,
}

/// Does `work` on a thread, shows its steps, and calls it off when a signal comes.
pub(crate) async fn watched<T: Send + 'static>(
    ui: Ui,
    doing: &str,
    called_off: CalledOff,
    work: impl FnOnce(&Task) -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    let mut signals = Signals::watch(&Signal::ENDINGS)?;
    let (report, mut told) = mpsc::unbounded_channel();
    let task = Task::watched(move |step| {
        // Nobody watches any more: the work is being called off.
        let _ = report.send(step);
    });
    let given = task.clone();
    let mut done = pin!(tokio::task::spawn_blocking(move || work(&given)));
    let mut steps = Steps::start(ui, doing);
    let done = loop {
        tokio::select! {
            biased;
            signal = signals.next() => {
                task.cancel();
                if let CalledOff::Ends(leash) = called_off {
                    drop(leash);
                    let _ = done.await;
                }
                return Err(CommandError::Ended(signal));
            }
            Some(step) = told.recv() => steps.note(step),
            done = &mut done => break done,
        }
    };
    let done = done.map_err(|error| CommandError::host("the work on the archive ended early", &error))??;
    steps.finish();
    Ok(done)
}

fn buffered(
    out: impl Write,
    task: &Task,
    work: impl FnOnce(&mut dyn Write, &Task) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    work(&mut out, task)?;
    Ok(out.flush()?)
}

/// Writes the file, which appears whole. What is there and is no file, a device or a FIFO, is written to.
fn write_file(
    path: &Path,
    task: &Task,
    work: impl FnOnce(&mut dyn Write, &Task) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let broken = |error: &io::Error| CommandError::host(format!("cannot write {}", path.display()), error);
    // Where a link leads is meant, and not the link.
    let real = fs::canonicalize(path);
    let path = real.as_deref().unwrap_or(path);
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let out = File::options().write(true).open(path);
        return buffered(out.map_err(|error| broken(&error))?, task, work);
    }
    let name = path
        .file_name()
        .ok_or_else(|| CommandError::usage(format!("{} names no file", path.display())))?;
    let mut part = name.to_owned();
    part.push(format!(".part-{}", std::process::id()));
    let part = path.with_file_name(part);
    let file = File::create_new(&part).map_err(|error| broken(&error))?;
    let written = buffered(&file, task, work).and_then(|()| {
        let named = file.sync_all().and_then(|()| fs::rename(&part, path));
        named.map_err(|error| broken(&error))
    });
    if written.is_err() {
        // What is left of it is of no use, and whoever reads the error knows of the path.
        let _ = fs::remove_file(&part);
    }
    written
}

/// Standard input, which nobody waits for any more once the other end of `leash` is gone.
#[derive(Debug)]
pub(crate) struct Stdin {
    leash: OwnedFd,
}

impl Stdin {
    /// `example` is a command that pipes an archive in.
    pub(crate) fn new(example: &str) -> Result<(Self, OwnedFd), CommandError> {
        if io::stdin().is_terminal() {
            let message = "standard input is a terminal, and no archive comes from there";
            return Err(CommandError::usage(message).hint(format!("pipe one in: `{example}`")));
        }
        let (leash, held) = rustix::pipe::pipe().map_err(io::Error::from)?;
        Ok((Self { leash }, held))
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            let mut both = [
                PollFd::new(&stdin, PollFlags::IN),
                PollFd::new(&self.leash, PollFlags::IN),
            ];
            match poll(&mut both, None) {
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            let [_, leash] = &both;
            if !leash.revents().is_empty() {
                return Err(io::Error::other("called off"));
            }
            return stdin.lock().read(buffer);
        }
    }
}
