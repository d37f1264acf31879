//! What the guest's init is asked over SSH, as root (see [`guest_protocol::control`]).

use std::time::Duration;

use guest_protocol::CONTROL_SUBSYSTEM;
use guest_protocol::control::{MAX_LINE, Reply, Request, Status};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::layout::Files;
use crate::record::Record;
use crate::{Error, Result};

/// How much of an answer that makes no sense a person is shown, in characters.
const MAX_SHOWN: usize = 200;

/// Asks for an orderly end; returns when the init has said that it is about to.
pub(crate) async fn shutdown(files: &Files, record: &Record, grace: Duration) -> Result<()> {
    let grace_ms = u64::try_from(grace.as_millis()).ok();
    match ask(files, record, &Request::Shutdown { grace_ms }).await? {
        Reply::Stopping => Ok(()),
        other => Err(unexpected(record, &other)),
    }
}

pub(crate) async fn status(files: &Files, record: &Record) -> Result<Status> {
    match ask(files, record, &Request::Status).await? {
        Reply::Status(status) => Ok(status),
        other => Err(unexpected(record, &other)),
    }
}

fn unexpected(record: &Record, reply: &Reply) -> Error {
    let reason = match reply {
        Reply::Failed { message } => message.clone(),
        other => format!("the guest's init answered {other:?}"),
    };
    Error::Ssh {
        name: record.name.clone(),
        reason,
    }
}

async fn ask(files: &Files, record: &Record, request: &Request) -> Result<Reply> {
    let ssh = super::connect(files, &record.name, "root").await?;
    let failed = |reason: String| Error::Ssh {
        name: record.name.clone(),
        reason,
    };
    let channel = ssh
        .handle
        .channel_open_session()
        .await
        .map_err(|e| failed(e.to_string()))?;
    channel
        .request_subsystem(true, CONTROL_SUBSYSTEM)
        .await
        .map_err(|e| failed(e.to_string()))?;
    let mut line = serde_json::to_string(request).map_err(|e| failed(e.to_string()))?;
    line.push('\n');
    let mut stream = channel.into_stream();
    stream
        .write_all(line.as_bytes())
        .await
        .map_err(|e| failed(e.to_string()))?;
    let mut answer = String::new();
    let mut reader = BufReader::new(stream).take(MAX_LINE as u64);
    reader
        .read_line(&mut answer)
        .await
        .map_err(|e| failed(e.to_string()))?;
    parse(&answer).map_err(failed)
}

/// An answer, or why it is none; a guest may answer anything.
pub(crate) fn parse(answer: &str) -> std::result::Result<Reply, String> {
    serde_json::from_str(answer).map_err(|e| {
        let shown: String = answer.chars().take(MAX_SHOWN).collect();
        format!("the guest's init answered {shown:?}: {e}")
    })
}
