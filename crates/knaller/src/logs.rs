//! What a machine wrote.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use bytes::Bytes;

use crate::layout::Files;
use crate::record::Record;
use crate::watch::Watch;
use crate::{Error, Result, keep, stop};

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
    file: File,
    path: PathBuf,
    /// Where the next piece begins.
    at: u64,
    folder: PathBuf,
    record: Record,
    /// While there may be more to come.
    watch: Option<Watch>,
}

/// The longest piece, in bytes.
const PIECE: usize = 64 * 1024;

impl Logs {
    pub(crate) fn open(files: &Files, record: Record, source: LogSource, follow: bool) -> Result<Self> {
        let path = match source {
            LogSource::Console => files.console(),
            LogSource::Vmm => files.vmm_log(),
        };
        let mut logs = Self {
            file: File::open(&path).map_err(Error::io("open", &path))?,
            path,
            at: 0,
            folder: files.data.clone(),
            record,
            watch: None,
        };
        if follow {
            logs.follow()?;
        }
        Ok(logs)
    }

    /// Goes on as more comes: from here on, only the machine's end is the log's.
    ///
    /// # Errors
    /// The machine's folder cannot be watched.
    pub fn follow(&mut self) -> Result<()> {
        self.watch = Some(Watch::folder(&self.folder).map_err(Error::io("watch", &self.folder))?);
        Ok(())
    }

    /// The next piece, of any length; `None` at the end. Safe to drop and call again. What is no longer kept of a long console
    /// is left out, up to the beginning of a line.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let piece = self.piece().map_err(Error::io("read", &self.path))?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            let Some(watch) = &self.watch else {
                return Ok(None);
            };
            // What was written before the end is read before it is told.
            let over = tokio::select! {
                biased;
                changes = watch.changes() => changes.map_err(Error::io("watch", &self.path))?.over,
                ended = stop::ended(&self.record) => { ended?; true }
            };
            if over {
                self.watch = None;
            }
        }
    }

    fn piece(&mut self) -> io::Result<Bytes> {
        loop {
            self.at = keep::place(&self.file, self.at)?;
            let start = keep::data(&self.file, self.at);
            let mut piece = vec![0; PIECE];
            let got = self.file.read_at(&mut piece, start)?;
            if keep::data(&self.file, start) != start {
                // It became a hole while it was read.
                continue;
            }
            piece.truncate(got);
            let skipped = start > self.at;
            self.at = start + got as u64;
            let mut piece = Bytes::from(piece);
            if skipped && let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
                let _cut = piece.split_to(end + 1);
            }
            if !piece.is_empty() || got == 0 {
                return Ok(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn files_in(temp: &tempfile::TempDir) -> Files {
        Files {
            data: temp.path().to_owned(),
            runtime: temp.path().to_owned(),
        }
    }

    fn console_of(files: &Files) -> Logs {
        let spec = crate::MachineSpec::new();
        let record = Record::new("web".parse().unwrap(), files.runtime.clone(), spec);
        Logs::open(files, record, LogSource::Console, false).unwrap()
    }

    /// What there is up to the end.
    async fn rest_of(logs: &mut Logs) -> String {
        let mut rest = Vec::new();
        while let Some(piece) = logs.next().await.unwrap() {
            rest.extend_from_slice(&piece);
        }
        String::from_utf8(rest).unwrap()
    }

    #[tokio::test]
    async fn of_a_long_console_whole_lines_are_read_and_followed() {
        let temp = tempfile::tempdir().unwrap();
        let files = files_in(&temp);
        let mut console = File::create(files.console()).unwrap();
        let lines: Vec<String> = (0..30_000)
            .map(|n| format!("line {n}, which is rather long\n"))
            .collect();
        console.write_all(lines.concat().as_bytes()).unwrap();
        keep::trim(&files.console(), 256 << 10).unwrap();

        let mut logs = console_of(&files);
        let all = rest_of(&mut logs).await;
        assert!(
            all.len() >= 200 << 10 && all.len() < 512 << 10,
            "{} bytes",
            all.len()
        );
        let whole = lines.concat();
        assert!(whole.ends_with(&all) && all.starts_with("line "));

        logs.follow().unwrap();
        console.write_all(b"more\n").unwrap();
        assert_eq!(logs.next().await.unwrap().unwrap(), "more\n");
    }

    #[tokio::test]
    async fn a_console_that_is_made_shorter_is_followed_where_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let files = files_in(&temp);
        let mut console = File::options()
            .append(true)
            .create(true)
            .open(files.console())
            .unwrap();
        // All of it but the end is a hole.
        console.set_len(3 * keep::STEP).unwrap();
        console.write_all(b"\nbefore\n").unwrap();
        let mut logs = console_of(&files);
        let all = rest_of(&mut logs).await;
        assert!(all.ends_with("before\n"));
        let shorter = keep::shorten(&files.console()).unwrap();
        let length = console.metadata().unwrap().len();
        assert_eq!(length < 2 * keep::STEP, shorter, "{length}");
        console.write_all(b"after\n").unwrap();
        logs.follow().unwrap();
        assert_eq!(logs.next().await.unwrap().unwrap(), "after\n");
        // Once more, by somebody who empties it.
        console.set_len(0).unwrap();
        console.write_all(b"anew\n").unwrap();
        assert_eq!(logs.next().await.unwrap().unwrap(), "anew\n");
    }
}
