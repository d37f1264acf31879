//! A running command.

use std::sync::Arc;

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};

use super::{Command, ExecExit, ExecRequest};
use crate::layout::Files;
use crate::ssh::{self, Ssh};
use crate::{Error, Name, Result};

/// SSH_EXTENDED_DATA_STDERR (RFC 4254, 5.2).
const STDERR: u32 = 1;

/// What a running command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    Stdout(Bytes),
    /// Never with a terminal: it mixes both.
    Stderr(Bytes),
    /// The last event.
    Exit(ExecExit),
}

/// A running command. Dropped with all its inputs, it closes the connection, and the guest ends the command as on a hang-up.
#[derive(Debug)]
pub struct Session {
    messages: ChannelReadHalf,
    input: SessionInput,
    exit: Option<ExecExit>,
    over: bool,
    _ssh: Ssh,
}

/// The command's side that takes: input, window size, signals. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SessionInput {
    channel: Arc<ChannelWriteHalf<Msg>>,
    name: Name,
}

impl Session {
    pub(crate) async fn open(files: &Files, name: &Name, request: ExecRequest) -> Result<Self> {
        let ssh = ssh::connect(files, name, &request.user).await?;
        let failed = |e: russh::Error| Error::Ssh {
            name: name.clone(),
            reason: e.to_string(),
        };
        let channel = ssh.handle.channel_open_session().await.map_err(failed)?;
        let (messages, channel) = channel.split();
        let input = SessionInput {
            channel: Arc::new(channel),
            name: name.clone(),
        };
        let mut session = Self {
            messages,
            input,
            exit: None,
            over: false,
            _ssh: ssh,
        };
        session.begin(request).await?;
        Ok(session)
    }

    async fn begin(&mut self, request: ExecRequest) -> Result<()> {
        let channel = Arc::clone(&self.input.channel);
        let failed = |e: russh::Error| self.input.failed(&e);
        for (name, value) in request.env {
            channel.set_env(false, name, value).await.map_err(failed)?;
        }
        if let Some(pty) = &request.pty {
            let size = (pty.columns, pty.rows);
            channel
                .request_pty(true, &pty.term, size.0, size.1, 0, 0, &[])
                .await
                .map_err(failed)?;
            self.granted("a terminal").await?;
        }
        let failed = |e: russh::Error| self.input.failed(&e);
        match request.command {
            Command::Shell => channel.request_shell(true).await,
            Command::Line(line) => channel.exec(true, line).await,
            Command::Subsystem(name) => channel.request_subsystem(true, name).await,
        }
        .map_err(failed)?;
        self.granted("the command").await
    }

    async fn granted(&mut self, what: &str) -> Result<()> {
        let reason = loop {
            match self.messages.wait().await {
                Some(ChannelMsg::Success) => return Ok(()),
                Some(ChannelMsg::Failure) => break format!("the guest refuses {what}"),
                None | Some(ChannelMsg::Close) => break "the guest hung up".to_owned(),
                // Window sizes come at any time.
                Some(_) => {}
            }
        };
        Err(Error::Ssh {
            name: self.input.name.clone(),
            reason,
        })
    }

    /// The next thing it says; `None` after [`SessionEvent::Exit`]. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        while !self.over {
            match self.messages.wait().await {
                Some(ChannelMsg::Data { data }) => return Some(SessionEvent::Stdout(data)),
                Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => {
                    return Some(SessionEvent::Stderr(data));
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => self.exit = Some(ExecExit::Code(exit_status)),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    self.exit = Some(ExecExit::Signal(signal_text(&signal_name)));
                }
                // What is still on its way was received before the close.
                None | Some(ChannelMsg::Close) => {
                    self.over = true;
                    return Some(SessionEvent::Exit(self.exit.take().unwrap_or(ExecExit::Lost)));
                }
                Some(_) => {}
            }
        }
        None
    }

    /// The other direction, to be used beside [`Self::next`].
    #[must_use]
    pub fn input(&self) -> SessionInput {
        self.input.clone()
    }
}

impl SessionInput {
    /// Sends input; waits while the guest's window is full.
    pub async fn write(&self, bytes: impl Into<Bytes>) -> Result<()> {
        self.channel.data_bytes(bytes).await.map_err(|e| self.failed(&e))
    }

    /// Says that no more input comes.
    pub async fn close(&self) -> Result<()> {
        self.channel.eof().await.map_err(|e| self.failed(&e))
    }

    /// Tells the new size of the terminal.
    pub async fn resize(&self, columns: u32, rows: u32) -> Result<()> {
        self.channel
            .window_change(columns, rows, 0, 0)
            .await
            .map_err(|e| self.failed(&e))
    }

    /// Sends a signal by its name without `SIG`, as `INT`.
    pub async fn signal(&self, name: &str) -> Result<()> {
        self.channel
            .signal(signal(name))
            .await
            .map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &russh::Error) -> Error {
        Error::Ssh {
            name: self.name.clone(),
            reason: error.to_string(),
        }
    }
}

/// The signals that RFC 4254, 6.10, names, and others by their own names.
fn signal(name: &str) -> Sig {
    match name {
        "ABRT" => Sig::ABRT,
        "ALRM" => Sig::ALRM,
        "FPE" => Sig::FPE,
        "HUP" => Sig::HUP,
        "ILL" => Sig::ILL,
        "INT" => Sig::INT,
        "KILL" => Sig::KILL,
        "PIPE" => Sig::PIPE,
        "QUIT" => Sig::QUIT,
        "SEGV" => Sig::SEGV,
        "TERM" => Sig::TERM,
        "USR1" => Sig::USR1,
        other => Sig::Custom(other.to_owned()),
    }
}

fn signal_text(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.clone(),
        named => format!("{named:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_keep_their_names() {
        for name in ["INT", "TERM", "KILL", "USR2", "WINCH"] {
            assert_eq!(signal_text(&signal(name)), name);
        }
    }
}
