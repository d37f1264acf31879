//! Archives: what is written to a file or to standard output, and what is read from one or from standard input.
//!
//! The invariant: a file that is written has its name only once it is there whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
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
    File(PathBuf, Readers),
}

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner, whoever could read what was there before: there are secrets in it.
    Owner,
    /// Whoever the process's umask lets.
    AsUsual,
}

impl Readers {
    /// The mode that a file is made with.
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::AsUsual => 0o666,
        }
    }
}

impl Output {
    /// `-` is standard output, which must be none that a person reads.
    pub(crate) fn at(path: PathBuf, readers: Readers) -> Result<Self, CommandError> {
        if path != Path::new("-") {
            return Ok(Self::File(path, readers));
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
            Self::File(path, _) => (CalledOff::Ends(None), Some(path.display().to_string())),
        };
        let write = move |task: &Task| match self {
            Self::Stdout => buffered(io::stdout(), task, work),
            Self::File(path, readers) => write_file(&path, readers, task, work),
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

/// As [`buffered`], to a place that an error is to name.
fn buffered_to(
    path: &Path,
    out: impl Write,
    task: &Task,
    work: impl FnOnce(&mut dyn Write, &Task) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut out = BufWriter::with_capacity(
        BUFFER,
        Noting {
            inner: out,
            failed: false,
        },
    );
    let worked = work(&mut out, task);
    let place = format!("cannot write {}", path.display());
    let worked = worked.and_then(|()| out.flush().map_err(|error| CommandError::host(&place, &error)));
    match worked {
        // Else it was something else that went wrong.
        Err(error) if out.get_ref().failed => Err(error.about(&place)),
        worked => worked,
    }
}

/// A writer that notes whether it could not be written to.
struct Noting<W> {
    inner: W,
    failed: bool,
}

impl<W: Write> Write for Noting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        self.failed |= matches!(&written, Err(error) if error.kind() != io::ErrorKind::Interrupted);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes the file, which appears whole. What is there and is no file, a device or a FIFO, is written to.
fn write_file(
    path: &Path,
    readers: Readers,
    task: &Task,
    work: impl FnOnce(&mut dyn Write, &Task) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let broken = |error: &io::Error| CommandError::host(format!("cannot write {}", path.display()), error);
    if path.is_dir() {
        let message = format!("{} is a folder, and an archive is one file", path.display());
        return Err(CommandError::usage(message).hint("name a file in it"));
    }
    // Where a link leads is meant, and not the link.
    let real = fs::canonicalize(path);
    let path = real.as_deref().unwrap_or(path);
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let out = File::options().write(true).open(path);
        return buffered_to(path, out.map_err(|error| broken(&error))?, task, work);
    }
    let name = path
        .file_name()
        .ok_or_else(|| CommandError::usage(format!("{} names no file", path.display())))?;
    let mut part = name.to_owned();
    part.push(format!(".part-{}", std::process::id()));
    let part = path.with_file_name(part);
    let mut options = File::options();
    let options = options.write(true).create_new(true).mode(readers.mode());
    let file = options.open(&part).map_err(|error| broken(&error))?;
    let written = buffered_to(path, &file, task, work).and_then(|()| {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_cannot_be_written_is_named_and_a_full_disk_is_one() {
        let refused = |path: &Path| {
            let work = |out: &mut dyn Write, _: &Task| Ok(out.write_all(b"archive")?);
            let error = write_file(path, Readers::Owner, &Task::new(), work).unwrap_err();
            (error.exit_code(), error.sentence())
        };
        let (code, text) = refused(Path::new("/dev/full"));
        assert!(
            text.starts_with("cannot write /dev/full: No space left"),
            "{text}"
        );
        assert_eq!(code, 8);
        let temp = tempfile::tempdir().unwrap();
        let (code, text) = refused(temp.path());
        assert!(text.contains("is a folder"), "{text}");
        assert_eq!(code, 2);
        assert_eq!(temp.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn what_has_secrets_in_it_is_its_owners_alone_whatever_was_there() {
        let temp = tempfile::tempdir().unwrap();
        let write = |name: &str, readers| {
            let path = temp.path().join(name);
            write_file(&path, readers, &Task::new(), |out, _| {
                // While it is written it is as private as it is afterwards.
                for entry in temp.path().read_dir()?.filter_map(Result::ok) {
                    let mode = entry.metadata()?.permissions().mode();
                    let part = entry.file_name().to_string_lossy().contains(".part-");
                    assert!(
                        !part || readers == Readers::AsUsual || mode & 0o077 == 0,
                        "{mode:o}"
                    );
                }
                Ok(out.write_all(b"archive")?)
            })
            .unwrap();
            path.metadata().unwrap().permissions().mode() & 0o777
        };
        assert_eq!(write("new", Readers::Owner), 0o600);
        let there = temp.path().join("there");
        fs::write(&there, "open to all").unwrap();
        fs::set_permissions(&there, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(write("there", Readers::Owner), 0o600);
        assert_eq!(fs::read(&there).unwrap(), b"archive");
        assert_eq!(write("image", Readers::AsUsual) & 0o400, 0o400);
        assert_eq!(temp.path().read_dir().unwrap().count(), 3);
    }
}
