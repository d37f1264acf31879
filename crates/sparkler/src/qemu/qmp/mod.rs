//! A small client of QEMU's machine protocol (QMP) over one socket.
//!
//! Invariant: one command is under way at a time and its answer is known by its id, so a caller that gives up
//! waiting leaves nothing behind that could be taken for the answer to a later command.

pub mod command;
mod inbox;
mod message;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

pub use self::command::Command;
use self::inbox::Inbox;
pub use self::inbox::TooLong;
pub use self::message::{Event, Message, ParseError, parse};

/// How long QEMU may take for one answer. Firecracker waits as long for a vCPU (`RECV_TIMEOUT_SEC`).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Events kept for the owner while a command is under way. Only events that end the machine are kept at all.
const MAX_EVENTS: usize = 64;

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket failed.
    #[error("QEMU's control socket failed: {0}")]
    Io(#[from] io::Error),
    /// QEMU ended or closed the socket.
    #[error("QEMU closed its control socket")]
    Closed,
    /// A line was longer than this client takes.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// A line could not be read.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// QEMU did not answer in time.
    #[error("QEMU did not answer `{command}` within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// The command sent.
        command: &'static str,
    },
    /// QEMU refused the command.
    #[error("QEMU refused `{command}`: {desc}")]
    Refused {
        /// The command sent.
        command: &'static str,
        /// QEMU's own words.
        desc: String,
    },
    /// The answer does not have the form this command's answer has.
    #[error("QEMU's answer to `{command}` has an unknown form: {source}")]
    Answer {
        /// The command sent.
        command: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A connection to QEMU's control socket.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    inbox: Inbox,
    events: VecDeque<Event>,
    /// How the incoming migration stood when it was last told.
    migration: Option<String>,
    next_id: u64,
}

impl Qmp {
    /// Waits for QEMU's greeting and opens the command mode.
    pub async fn connect(stream: UnixStream) -> Result<Self, QmpError> {
        let mut qmp = Self {
            stream,
            inbox: Inbox::default(),
            events: VecDeque::new(),
            migration: None,
            next_id: 1,
        };
        let greeting = async {
            while !matches!(qmp.message().await?, Message::Greeting) {}
            Ok::<(), QmpError>(())
        };
        let late = QmpError::Timeout { command: "greeting" };
        tokio::time::timeout(TIMEOUT, greeting)
            .await
            .map_err(|_| late)??;
        qmp.execute(&command::QmpCapabilities {}).await?;
        Ok(qmp)
    }

    /// Runs one command and waits for its answer.
    pub async fn execute<C: Command>(&mut self, command: &C) -> Result<C::Return, QmpError> {
        self.run(command, None).await
    }

    /// Runs one command that takes a file descriptor beside it (`add-fd`, `getfd`).
    pub async fn execute_with_fd<C: Command>(
        &mut self,
        command: &C,
        fd: BorrowedFd<'_>,
    ) -> Result<C::Return, QmpError> {
        self.run(command, Some(fd)).await
    }

    /// Waits for the next event that matters. May be dropped while it waits: nothing is lost.
    pub async fn event(&mut self) -> Result<Event, QmpError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if let Message::Event(event) = self.message().await? {
                self.keep(event);
            }
        }
    }

    /// Waits until QEMU has taken in a machine's state. Its events must have been turned on.
    pub async fn migrated(&mut self) -> Result<(), QmpError> {
        let command = "migrate-incoming";
        let end = async {
            loop {
                match self.migration.take().as_deref() {
                    Some("completed") => return Ok(()),
                    Some("failed") => {
                        let desc = "the state does not fit the machine".to_owned();
                        return Err(QmpError::Refused { command, desc });
                    }
                    _ => {}
                }
                if let Message::Event(event) = self.message().await? {
                    self.keep(event);
                }
            }
        };
        tokio::time::timeout(TIMEOUT, end)
            .await
            .map_err(|_| QmpError::Timeout { command })?
    }

    async fn run<C: Command>(
        &mut self,
        command: &C,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<C::Return, QmpError> {
        let id = self.next_id;
        self.next_id += 1;
        let late = QmpError::Timeout { command: C::NAME };
        let answer = async {
            self.send(&line(id, command), fd).await?;
            self.answer(id, C::NAME).await
        };
        let value = tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| late)??;
        serde_json::from_value(value).map_err(|source| QmpError::Answer {
            command: C::NAME,
            source,
        })
    }

    async fn answer(&mut self, wanted: u64, command: &'static str) -> Result<Value, QmpError> {
        loop {
            match self.message().await? {
                Message::Return { id, value } if id == Some(wanted) => return Ok(value),
                // An error without id is QEMU's answer to a line it could not read: that is the one under way.
                Message::Error { id, desc } if id.is_none_or(|id| id == wanted) => {
                    return Err(QmpError::Refused { command, desc });
                }
                Message::Event(event) => self.keep(event),
                Message::Greeting | Message::Return { .. } | Message::Error { .. } => {}
            }
        }
    }

    fn keep(&mut self, event: Event) {
        match event {
            Event::Other(name) => tracing::trace!("QEMU event {name}"),
            Event::Migration { status } => self.migration = Some(status),
            event if self.events.len() < MAX_EVENTS => self.events.push_back(event),
            _ => {}
        }
    }

    async fn message(&mut self) -> Result<Message, QmpError> {
        loop {
            if let Some(line) = self.inbox.line()? {
                return Ok(parse(&line)?);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await? {
                0 => return Err(QmpError::Closed),
                count => self.inbox.push(&bytes[..count]),
            }
        }
    }

    async fn send(&mut self, line: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), QmpError> {
        let sent = match fd {
            Some(fd) => {
                self.stream
                    .async_io(Interest::WRITABLE, || send_fd(&self.stream, line, fd))
                    .await?
            }
            None => 0,
        };
        self.stream.write_all(&line[sent..]).await?;
        Ok(())
    }
}

fn line<C: Command>(id: u64, command: &C) -> Vec<u8> {
    let value = serde_json::json!({ "execute": C::NAME, "id": id, "arguments": command });
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn send_fd(stream: &UnixStream, line: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no room for one file descriptor"));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(sendmsg(
        stream.as_fd(),
        &[IoSlice::new(line)],
        &mut control,
        flags,
    )?)
}
