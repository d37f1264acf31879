//! What a client may ask of a session channel, RFC 4254 section 6.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::pty::{Size, Terminal};
use crate::ssh::protocol::wire::{Malformed, Reader};

/// One request, and whether it wants an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub ask: Ask,
    pub want_reply: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Terminal(Terminal),
    Resize(Size),
    Variable {
        name: OsString,
        value: OsString,
    },
    Shell,
    Exec(Vec<u8>),
    Subsystem(String),
    /// The name of a signal, without `SIG`.
    Signal(String),
    /// RFC 4335.
    Break,
    /// A way back to the client's agent (OpenSSH's PROTOCOL.agent).
    Agent,
    /// Something that is not offered, such as `x11-req`.
    Unknown,
}

impl Request {
    /// Reads the request of that kind from what follows its name.
    pub(crate) fn parse(kind: &str, want_reply: bool, mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let ask = match kind {
            "pty-req" => Ask::Terminal(Terminal::parse(&mut reader)?),
            "window-change" => Ask::Resize(Size::parse(&mut reader)?),
            "env" => Ask::Variable {
                name: os(reader.string()?),
                value: os(reader.string()?),
            },
            "shell" => Ask::Shell,
            "exec" => Ask::Exec(reader.string()?.to_vec()),
            "subsystem" => Ask::Subsystem(reader.text()?.to_owned()),
            "signal" => Ask::Signal(reader.text()?.to_owned()),
            "break" => {
                reader.u32()?;
                Ask::Break
            }
            "auth-agent-req@openssh.com" => Ask::Agent,
            _ => {
                return Ok(Self {
                    ask: Ask::Unknown,
                    want_reply,
                });
            }
        };
        reader.end()?;
        Ok(Self { ask, want_reply })
    }
}
