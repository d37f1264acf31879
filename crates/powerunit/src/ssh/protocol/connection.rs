//! Messages of the connection layer, RFC 4254, read and written.

use super::message::{self, OpenFailure};
use super::wire::{Malformed, Put as _, Reader};

/// One message from the client. Channels are named by the number this side gave them.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    Global {
        kind: &'a str,
        want_reply: bool,
        rest: Reader<'a>,
    },
    /// The answer to a global request of this side.
    GlobalReply,
    Open(Open<'a>),
    Confirmed {
        channel: u32,
        peer: Peer,
    },
    OpenFailed {
        channel: u32,
    },
    Window {
        channel: u32,
        bytes: u32,
    },
    Data {
        channel: u32,
        data: &'a [u8],
    },
    /// Data of a kind that a server has no use for.
    Extended {
        channel: u32,
        length: usize,
    },
    Eof {
        channel: u32,
    },
    Close {
        channel: u32,
    },
    Request {
        channel: u32,
        kind: &'a str,
        want_reply: bool,
        rest: Reader<'a>,
    },
    /// The answer to a channel request of this side.
    Reply,
}

/// What the other side says of its end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number for it.
    pub id: u32,
    /// How many bytes it takes before it says more.
    pub window: u32,
    /// How many bytes it takes in one message.
    pub max_packet: u32,
}

/// A channel that the client wants.
#[derive(Clone, Debug)]
pub struct Open<'a> {
    pub kind: &'a str,
    pub peer: Peer,
    pub rest: Reader<'a>,
}

impl<'a> Message<'a> {
    /// Reads a payload whose number is one of this layer's. `None`: it is not.
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(payload);
        let number = reader.u8()?;
        let parsed = match number {
            message::GLOBAL_REQUEST => Self::Global {
                kind: reader.text()?,
                want_reply: reader.bool()?,
                rest: reader,
            },
            message::REQUEST_SUCCESS | message::REQUEST_FAILURE => Self::GlobalReply,
            message::CHANNEL_OPEN => {
                let kind = reader.text()?;
                Self::Open(Open {
                    kind,
                    peer: Peer::parse(&mut reader)?,
                    rest: reader,
                })
            }
            message::CHANNEL_OPEN_CONFIRMATION => Self::Confirmed {
                channel: reader.u32()?,
                peer: Peer::parse(&mut reader)?,
            },
            message::CHANNEL_OPEN_FAILURE => Self::OpenFailed {
                channel: reader.u32()?,
            },
            message::CHANNEL_WINDOW_ADJUST => Self::Window {
                channel: reader.u32()?,
                bytes: reader.u32()?,
            },
            message::CHANNEL_DATA => Self::Data {
                channel: reader.u32()?,
                data: reader.string()?,
            },
            message::CHANNEL_EXTENDED_DATA => {
                let (channel, _kind) = (reader.u32()?, reader.u32()?);
                Self::Extended {
                    channel,
                    length: reader.string()?.len(),
                }
            }
            message::CHANNEL_EOF => Self::Eof {
                channel: reader.u32()?,
            },
            message::CHANNEL_CLOSE => Self::Close {
                channel: reader.u32()?,
            },
            message::CHANNEL_REQUEST => Self::Request {
                channel: reader.u32()?,
                kind: reader.text()?,
                want_reply: reader.bool()?,
                rest: reader,
            },
            message::CHANNEL_SUCCESS | message::CHANNEL_FAILURE => Self::Reply,
            _ => return Ok(None),
        };
        Ok(Some(parsed))
    }
}

impl Peer {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: reader.u32()?,
            window: reader.u32()?,
            max_packet: reader.u32()?,
        })
    }

    /// This side's end, as the other side gets to know it.
    fn put(self, out: &mut Vec<u8>) {
        out.put_u32(self.id);
        out.put_u32(self.window);
        out.put_u32(self.max_packet);
    }
}

/// "Here is a channel of that kind": `rest` writes what the kind adds.
pub fn open(out: &mut Vec<u8>, kind: &str, own: Peer, rest: impl FnOnce(&mut Vec<u8>)) {
    out.put_u8(message::CHANNEL_OPEN);
    out.put_string(kind.as_bytes());
    own.put(out);
    rest(out);
}

/// "Your channel is open."
pub fn confirm(out: &mut Vec<u8>, peer: u32, own: Peer) {
    out.put_u8(message::CHANNEL_OPEN_CONFIRMATION);
    out.put_u32(peer);
    own.put(out);
}

/// "Your channel is not opened."
pub fn refuse(out: &mut Vec<u8>, peer: u32, failure: OpenFailure, text: &str) {
    out.put_u8(message::CHANNEL_OPEN_FAILURE);
    out.put_u32(peer);
    out.put_u32(failure as u32);
    out.put_string(text.as_bytes());
    out.put_string(b"");
}

/// A message that is only a number and a channel.
pub fn bare(out: &mut Vec<u8>, number: u8, peer: u32) {
    out.put_u8(number);
    out.put_u32(peer);
}

/// "You may send that many bytes more."
pub fn window(out: &mut Vec<u8>, peer: u32, bytes: u32) {
    bare(out, message::CHANNEL_WINDOW_ADJUST, peer);
    out.put_u32(bytes);
}

/// Data, of standard error if `stderr`.
pub fn data(out: &mut Vec<u8>, peer: u32, stderr: bool, data: &[u8]) {
    if stderr {
        bare(out, message::CHANNEL_EXTENDED_DATA, peer);
        out.put_u32(message::STDERR);
    } else {
        bare(out, message::CHANNEL_DATA, peer);
    }
    out.put_string(data);
}

/// A channel request that wants no answer: `rest` writes what the kind adds.
pub fn request(out: &mut Vec<u8>, peer: u32, kind: &str, rest: impl FnOnce(&mut Vec<u8>)) {
    bare(out, message::CHANNEL_REQUEST, peer);
    out.put_string(kind.as_bytes());
    out.put_bool(false);
    rest(out);
}

/// What an `exit-signal` adds: the signal's name, whether there was a core dump, no text (RFC 4254 section 6.10).
pub fn exit_signal(out: &mut Vec<u8>, name: &str, core: bool) {
    out.put_string(name.as_bytes());
    out.put_bool(core);
    out.put_string(b"");
    out.put_string(b"");
}
