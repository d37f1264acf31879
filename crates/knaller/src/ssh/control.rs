//! What the guest's init is asked over SSH, as root (see [`guest_protocol::control`]).

use std::time::Duration;

use guest_protocol::CONTROL_SUBSYSTEM;
use guest_protocol::control::{Frozen, MAX_LINE, Process, Reply, Request, Status};
use russh::ChannelStream;
use russh::client::Msg;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::layout::Files;
use crate::record::Record;
use crate::ssh::Ssh;
use crate::{Error, Name, Result};

/// How long the guest's init may take for an answer. Longest takes standing still: all that the guest has not written yet goes to
/// its disks.
const ANSWER: Duration = Duration::from_secs(120);

/// How much of an answer that makes no sense a person is shown, in characters.
const MAX_SHOWN: usize = 200;

/// The most processes that are asked for: as many as Linux has ids on a 64-bit machine (`PID_MAX_LIMIT`).
const MAX_PROCESSES: usize = 4 << 20;

/// Asks for an orderly end; returns when the init has said that it is about to.
pub(crate) async fn shutdown(files: &Files, record: &Record, grace: Duration) -> Result<()> {
    let grace_ms = u64::try_from(grace.as_millis()).ok();
    let mut control = Control::open(files, record).await?;
    match control.ask(&Request::Shutdown { grace_ms }).await? {
        Reply::Stopping => Ok(()),
        other => Err(control.unexpected(&other)),
    }
}

pub(crate) async fn status(files: &Files, record: &Record) -> Result<Status> {
    let mut control = Control::open(files, record).await?;
    match control.ask(&Request::Status).await? {
        Reply::Status(status) => Ok(status),
        other => Err(control.unexpected(&other)),
    }
}

/// All programs that run in the guest.
pub(crate) async fn processes(files: &Files, record: &Record) -> Result<Vec<Process>> {
    let mut control = Control::open(files, record).await?;
    let mut all: Vec<Process> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.pid);
        let answer = match control.ask(&Request::Processes { after }).await? {
            Reply::Processes(answer) => answer,
            other => return Err(control.unexpected(&other)),
        };
        // A guest may answer anything: but not for ever.
        let goes_on = answer.list.iter().all(|process| process.pid > after);
        all.extend(answer.list);
        let further = all.last().is_some_and(|last| last.pid > after);
        if !(answer.more && goes_on && further && all.len() < MAX_PROCESSES) {
            return Ok(all);
        }
    }
}

/// A conversation with the guest's init.
pub(crate) struct Control {
    name: Name,
    stream: BufReader<ChannelStream<Msg>>,
    // The stream is one of its channels.
    _ssh: Ssh,
}

impl Control {
    pub(crate) async fn open(files: &Files, record: &Record) -> Result<Self> {
        let ssh = super::connect(files, &record.name, "root").await?;
        let failed = |error: russh::Error| Error::Ssh {
            name: record.name.clone(),
            reason: error.to_string(),
        };
        let asked = async {
            let channel = ssh.handle.channel_open_session().await?;
            channel.request_subsystem(true, CONTROL_SUBSYSTEM).await?;
            Ok(channel)
        };
        let channel = in_time(&record.name, asked).await?.map_err(failed)?;
        Ok(Self {
            name: record.name.clone(),
            stream: BufReader::new(channel.into_stream()),
            _ssh: ssh,
        })
    }

    /// Makes everything in the guest but its init stand still, for as long as this conversation lasts.
    pub(crate) async fn freeze(&mut self, patience: Duration) -> Result<Frozen> {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Request::Freeze { patience_ms }).await? {
            Reply::Frozen(frozen) => Ok(frozen),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Lets the guest go on.
    pub(crate) async fn thaw(&mut self) -> Result<()> {
        match self.ask(&Request::Thaw).await? {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Reply> {
        let name = self.name.clone();
        in_time(&name, self.ask_patiently(request)).await?
    }

    async fn ask_patiently(&mut self, request: &Request) -> Result<Reply> {
        let failed = |reason: String| Error::Ssh {
            name: self.name.clone(),
            reason,
        };
        let mut line = serde_json::to_string(request).map_err(|e| failed(e.to_string()))?;
        line.push('\n');
        let sent = self.stream.get_mut().write_all(line.as_bytes()).await;
        sent.map_err(|e| failed(e.to_string()))?;
        let mut answer = String::new();
        let mut limited = (&mut self.stream).take(MAX_LINE as u64);
        let read = limited.read_line(&mut answer).await;
        read.map_err(|e| failed(e.to_string()))?;
        parse(&answer).map_err(failed)
    }

    fn unexpected(&self, reply: &Reply) -> Error {
        let reason = match reply {
            Reply::Failed { message } => message.clone(),
            other => format!("the guest's init answered {other:?}"),
        };
        Error::Ssh {
            name: self.name.clone(),
            reason,
        }
    }
}

/// What comes of asking the guest, which may stand still or not want to answer.
async fn in_time<T>(name: &Name, asking: impl Future<Output = T>) -> Result<T> {
    let answered = tokio::time::timeout(ANSWER, asking).await;
    answered.map_err(|_| Error::Timeout {
        what: format!("the init of {name}"),
        after: ANSWER,
    })
}

/// An answer, or why it is none; a guest may answer anything.
pub(crate) fn parse(answer: &str) -> std::result::Result<Reply, String> {
    serde_json::from_str(answer).map_err(|e| {
        let shown: String = answer.chars().take(MAX_SHOWN).collect();
        format!("the guest's init answered {shown:?}: {e}")
    })
}
