//! What PID 1 and the worker say to each other, on a pair of Unix sockets: one JSON value a line.
//!
//! PID 1 sends a [`Notice`] whenever what it says has changed, and all of them to a new worker. The worker sends a [`Word`]
//! for what only PID 1 can do, and for what its successor shall know. The end of the stream means that PID 1 has handed itself
//! over to the image's init.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use guest_protocol::control::Health;
use guest_protocol::{Exit, Renewal, frame};
use serde::{Deserialize, Serialize};

use crate::machine::Root;

/// One line from PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notice {
    /// The config is there: what a worker that was started without one waits for.
    Config,
    Root(Root),
    /// Whether the entrypoint runs, and how it ended if it did.
    Entrypoint {
        running: bool,
        exit: Option<Exit>,
    },
    /// What the last worker has seen of the entrypoint's health.
    Health(Health),
    /// Everything is up since then, on the guest's monotonic clock.
    Ready {
        since_us: u64,
    },
    /// The machine has been asked to go down: nothing stands still any more.
    Asked,
    /// The machine is about to go down: nothing new is to be started.
    Ending,
    /// End every session and exit: the machine goes down.
    Stop,
}

/// One line from the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// As [`guest_protocol::control::Request::Shutdown`].
    Shutdown { grace_ms: Option<u64> },
    /// To be told to the next worker.
    Health(Health),
    /// The machine has become another, and so do the workers to come.
    Renewed(Box<Renewal>),
}

/// The longest line: a renewal was one frame itself.
const MAX_LINE: usize = frame::MAX_BODY + 1024;

/// PID 1's end. Never blocks.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Link {
    /// The two ends.
    pub(crate) fn pair() -> std::io::Result<(Self, UnixStream)> {
        let (stream, worker) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        worker.set_nonblocking(true)?;
        Ok((
            Self {
                stream,
                received: Vec::new(),
            },
            worker,
        ))
    }

    /// Sends one notice. The stream's buffer holds hundreds of them; what does not fit is an error.
    pub(crate) fn send(&mut self, notice: &Notice) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(notice)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }

    /// The words that have come in since the last call. Lines that are none are dropped: they come from our own
    /// worker, so the only way to get one is a worker gone mad.
    pub(crate) fn receive(&mut self) -> Vec<Word> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(length) if length > 0 && self.received.len() < MAX_LINE => {
                    self.received
                        .extend_from_slice(buffer.get(..length).unwrap_or_default());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => break,
            }
        }
        let Some(end) = self.received.iter().rposition(|byte| *byte == b'\n') else {
            if self.received.len() >= MAX_LINE {
                self.received.clear();
            }
            return Vec::new();
        };
        let lines: Vec<u8> = self.received.drain(..=end).collect();
        lines
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_whole_whatever_the_cuts() {
        let (mut link, mut worker) = Link::pair().unwrap();
        worker
            .write_all(b"{\"shutdown\":{\"grace_ms\":null}}\nnoise\n{\"shutdown\":")
            .unwrap();
        assert_eq!(link.receive(), [Word::Shutdown { grace_ms: None }]);
        worker.write_all(b"{\"grace_ms\":7}}\n").unwrap();
        assert_eq!(link.receive(), [Word::Shutdown { grace_ms: Some(7) }]);
        assert_eq!(link.receive(), []);
    }

    #[test]
    fn a_line_without_end_is_dropped() {
        let (mut link, mut worker) = Link::pair().unwrap();
        let part = [b'x'; 64 * 1024];
        for _ in 0..=MAX_LINE / part.len() {
            worker.write_all(&part).unwrap();
            assert_eq!(link.receive(), []);
        }
        worker.write_all(b"\n{\"shutdown\":{}}\n").unwrap();
        assert_eq!(link.receive(), [Word::Shutdown { grace_ms: None }]);
    }

    #[test]
    fn a_notice_is_one_line() {
        let (mut link, mut worker) = Link::pair().unwrap();
        let notice = Notice::Root(Root::Failed("no\ndisk".into()));
        link.send(&notice).unwrap();
        let mut buffer = [0; 256];
        let length = worker.read(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Notice>(text).unwrap(), notice);
    }
}
