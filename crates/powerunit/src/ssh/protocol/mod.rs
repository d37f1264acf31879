//! The server's side of SSH 2 as functions from bytes to bytes: no I/O, no clock, no task.
//!
//! From below: [`wire`] (data types), [`cipher`] (packets), [`negotiation`] and [`exchange`] (keys), [`transport`]
//! (RFC 4253 as one state machine), [`userauth`] with [`public_key`] (RFC 4252), [`connection`] (RFC 4254).
//!
//! Foreign bytes never panic here; what is not understood ends the connection with an [`Error`].

pub mod cipher;
pub mod connection;
pub mod exchange;
pub mod message;
pub mod negotiation;
pub mod public_key;
pub mod transport;
pub mod userauth;
pub mod wire;

pub use public_key::SIGNATURE_ALGORITHMS;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the client ended the connection")]
    Disconnected,
    #[error("the client did not identify itself as one of SSH 2")]
    Ident,
    #[error(transparent)]
    Malformed(#[from] wire::Malformed),
    #[error("a packet of {0} bytes is outside the limits")]
    TooLong(usize),
    #[error("a packet is damaged")]
    Crypto,
    #[error("the client's public value is not one")]
    Exchange,
    #[error("the client and this server have no {0} in common")]
    NothingInCommon(&'static str),
    #[error("the client sent {0}")]
    Unexpected(&'static str),
}

impl Error {
    /// What the client is told, if it is told anything.
    #[must_use]
    pub fn reason(&self) -> Option<message::Reason> {
        match self {
            Self::Disconnected | Self::Ident | Self::Crypto => None,
            Self::Malformed(_) | Self::TooLong(_) | Self::Unexpected(_) => {
                Some(message::Reason::ProtocolError)
            }
            Self::Exchange | Self::NothingInCommon(_) => Some(message::Reason::KeyExchangeFailed),
        }
    }
}
