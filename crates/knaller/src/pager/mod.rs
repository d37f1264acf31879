//! A guest's memory put in its place page by page, by userfaultfd(2), while the guest is started.
//!
//! The invariant: a start that has succeeded leaves nobody behind who serves. The guest gets a page when it touches it,
//! or before that, where an earlier start has noted what it will touch; all the rest follows behind; and when
//! everything is in its place, the kernel is told that no more is to come. So a killed knaller takes with it only
//! machines whose start it had not finished, which the next command removes anyway.
//!
//! ```text
//! VMM ── connects: regions, userfaultfd ─> [ what is known to be touched ][ faults, at once ][ the rest ] ── unregistered
//! ```

mod handshake;
mod permitted;
mod serve;
mod uffd;
mod working_set;

use std::fs::File;
use std::io::{PipeWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use images::Task;
use tokio::net::UnixListener;
use tokio::time::{Instant, timeout_at};

pub(crate) use permitted::{DEVICE, Permitted, permitted};
use serve::Server;
use working_set::WorkingSet;

use crate::layout::Files;
use crate::{Error, Result, runtime_folder, task};

/// Where a VMM fetches one guest's memory.
#[derive(Debug)]
pub(crate) struct Pager {
    listener: UnixListener,
    socket: PathBuf,
    memory: PathBuf,
    /// Where is noted what guests of this memory touch first, if anywhere.
    noted: Option<PathBuf>,
}

impl Pager {
    /// Listens; `noted` is read, or written if it cannot be read.
    pub(crate) fn listen(files: &Files, memory: PathBuf, noted: Option<PathBuf>) -> Result<Self> {
        let socket = files.pages_socket();
        Ok(Self {
            listener: runtime_folder::listen(files, &socket)?,
            socket,
            memory,
            noted,
        })
    }

    /// What the VMM is told.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Serves while `start` goes on, and until all is in its place when that has succeeded. The VMM has until
    /// `deadline` to ask, which is `after` the beginning.
    pub(crate) async fn beside<E: From<Error>>(
        self,
        (deadline, after): (Instant, Duration),
        start: impl Future<Output = std::result::Result<(), E>>,
        failed: impl Fn(Error) -> E,
    ) -> std::result::Result<(), E> {
        let (line, settle) = std::io::pipe().map_err(Error::system("make a pipe"))?;
        let serving = async {
            let late = |_| Error::NoAnswer {
                what: "the VMM whose guest's memory is to be served".to_owned(),
                after,
            };
            let (regions, uffd) = timeout_at(deadline, self.meet()).await.map_err(late)??;
            let (memory, noted) = (self.memory.clone(), self.noted.clone());
            task::blocking(move |task| serve(&memory, noted.as_deref(), regions, uffd, &line, task)).await
        };
        // In this order they are dropped: the end of the line ends the work that the other waits for.
        let both = tokio::try_join!(settled(start, settle), async { serving.await.map_err(failed) });
        both.map(drop)
    }

    async fn meet(&self) -> Result<(Vec<handshake::Region>, uffd::Uffd)> {
        let failed = || Error::io("accept on", &self.socket);
        let size = self
            .memory
            .metadata()
            .map_err(Error::io("read", &self.memory))?
            .len();
        let (stream, _) = self.listener.accept().await.map_err(failed())?;
        loop {
            stream.readable().await.map_err(failed())?;
            match stream.try_io(tokio::io::Interest::READABLE, || handshake::receive(&stream)) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed()(error)),
                Ok((bytes, fd)) => {
                    let refused = |error: handshake::Refused| failed()(std::io::Error::other(error));
                    let regions = handshake::parse(&bytes, size).map_err(refused)?;
                    let uffd = fd.ok_or(handshake::Refused::NoDescriptor).map_err(refused)?;
                    return Ok((regions, uffd::Uffd::check(uffd).map_err(failed())?));
                }
            }
        }
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Tells at the other end of the line that `start` has succeeded; otherwise that ends.
async fn settled<E>(
    start: impl Future<Output = std::result::Result<(), E>>,
    mut line: PipeWriter,
) -> std::result::Result<(), E> {
    start.await?;
    // Whoever does not listen any more has failed, and says so himself.
    let _ = line.write_all(&[0]);
    Ok(())
}

fn serve(
    memory: &Path,
    noted: Option<&Path>,
    regions: Vec<handshake::Region>,
    uffd: uffd::Uffd,
    line: &std::io::PipeReader,
    task: &Task,
) -> Result<()> {
    let file = File::open(memory).map_err(Error::io("open", memory))?;
    let failed = || Error::io("serve the pages of", memory);
    let size = file.metadata().map_err(failed())?.len();
    let known = noted.and_then(|noted| WorkingSet::load(noted, size));
    let server = Server::new(uffd, regions, file, size);
    let touched = server.run(line, known.as_ref(), task).map_err(failed())?;
    // Without it the next start is as slow as this one.
    if let Some(noted) = noted.filter(|_| known.is_none())
        && let Err(error) = touched.save(noted)
    {
        tracing::warn!(%error, "what the guest touched is not noted");
    }
    Ok(())
}

/// Everything that somebody else may have written.
#[cfg(fuzzing)]
pub(crate) fn parse_all(bytes: &[u8]) {
    const MEMORY: u64 = 1 << 30;
    if let Ok(regions) = handshake::parse(bytes, MEMORY) {
        assert!(
            regions
                .iter()
                .all(|region| region.offset + region.length <= MEMORY)
        );
    }
    if let Some(set) = WorkingSet::parse(bytes, MEMORY) {
        assert!(set.blocks().all(|block| block < MEMORY / working_set::BLOCK));
    }
}

#[cfg(test)]
mod tests;
