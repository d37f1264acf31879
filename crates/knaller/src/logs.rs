//! What a machine wrote.

use std::io::Read as _;

use bytes::Bytes;

use crate::layout::Files;
use crate::record::Record;
use crate::watch::Watch;
use crate::{Error, Result, stop};

/// Which log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogSource {
    /// The guest's serial console.
    #[default]
    Console,
    /// The VMM's and pasta's own messages.
    Vmm,
}

/// A log being read.
#[derive(Debug)]
pub struct Logs {
    file: std::fs::File,
    path: std::path::PathBuf,
    follow: Option<Follow>,
}

#[derive(Debug)]
struct Follow {
    watch: Watch,
    record: Record,
}

/// The longest piece, in bytes.
const PIECE: usize = 64 * 1024;

impl Logs {
    pub(crate) fn open(files: &Files, record: Record, source: LogSource, follow: bool) -> Result<Self> {
        let path = match source {
            LogSource::Console => files.console(),
            LogSource::Vmm => files.vmm_log(),
        };
        let watch = follow.then(|| Watch::folder(&files.data)).transpose();
        let watch = watch.map_err(Error::io("watch", &files.data))?;
        let file = std::fs::File::open(&path).map_err(Error::io("open", &path))?;
        Ok(Self {
            file,
            path,
            follow: watch.map(|watch| Follow { watch, record }),
        })
    }

    /// The next piece, of any length; `None` at the end. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let piece = self.piece()?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            let Some(follow) = &self.follow else {
                return Ok(None);
            };
            // What was written before the end is read before it is told.
            let over = tokio::select! {
                biased;
                changes = follow.watch.changes() => changes.map_err(Error::io("watch", &self.path))?.over,
                ended = stop::ended(&follow.record) => { ended?; true }
            };
            if over {
                self.follow = None;
            }
        }
    }

    fn piece(&mut self) -> Result<Bytes> {
        let mut piece = vec![0; PIECE];
        let got = self
            .file
            .read(&mut piece)
            .map_err(Error::io("read", &self.path))?;
        piece.truncate(got);
        Ok(piece.into())
    }
}
