//! The transport layer, RFC 4253: identification, key exchange and packets, without any I/O.
//!
//! Received bytes go in by [`Transport::receive`], bytes to send come out of [`Transport::take_output`]. Messages of the
//! layers above pass through; everything below them is dealt with here.
//!
//! Two invariants. Between this side's KEXINIT and its NEWKEYS nothing of the layers above is sent: it waits in
//! `held`. And until the first NEWKEYS has come in nothing but the key exchange is accepted at all.

use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::buffer::{SpareCapacity, spare_capacity};

use super::cipher::{Opener, Sealer};
use super::exchange::{Direction, Secret, Transcript, answer};
use super::message::{self, Reason};
use super::negotiation::{Agreed, HOST_KEY, agree, server_offer};
use super::wire::{Put as _, Reader};
use super::{Error, SIGNATURE_ALGORITHMS};
use crate::ssh::host_key::HostKey;

/// The identification line, RFC 4253 section 4.2.
pub const IDENT: &str = concat!("SSH-2.0-powerunit_", env!("CARGO_PKG_VERSION"));

/// The longest identification line accepted, its end included.
const MAX_IDENT: usize = 255;

/// The most bytes that wait for the end of a key exchange.
const MAX_HELD: usize = 16 * 1024 * 1024;

/// How far the key exchange is.
enum Phase {
    /// None is under way.
    Idle,
    /// This side's KEXINIT is out.
    Offered { offer: Vec<u8> },
    /// Both KEXINITs are there; the client's public value is next.
    Agreed {
        offer: Vec<u8>,
        client_offer: Vec<u8>,
        agreed: Agreed,
        skip: bool,
    },
    /// The answer and NEWKEYS are out; the client's NEWKEYS is next.
    Answered { secret: Secret, agreed: Agreed },
}

/// One connection's transport.
pub struct Transport {
    host_key: Arc<HostKey>,
    random: SystemRandom,
    /// Bytes of keys after which new ones are made, counted in each direction.
    rekey_after: u64,
    input: Vec<u8>,
    /// How much of `input` has been used up.
    used: usize,
    output: Vec<u8>,
    held: Vec<Vec<u8>>,
    held_bytes: usize,
    opener: Opener,
    sealer: Sealer,
    phase: Phase,
    client_ident: Option<Vec<u8>>,
    session_id: Option<[u8; 32]>,
    strict: bool,
}

impl Transport {
    /// A new connection: its output is this side's identification and KEXINIT, so that a client that has already sent its
    /// own is answered without waiting.
    pub fn new(host_key: Arc<HostKey>, rekey_after: u64) -> Result<Self, Error> {
        let mut transport = Self {
            host_key,
            random: SystemRandom::new(),
            rekey_after,
            input: Vec::new(),
            used: 0,
            output: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            opener: Opener::clear(),
            sealer: Sealer::clear(),
            phase: Phase::Idle,
            client_ident: None,
            session_id: None,
            strict: false,
        };
        transport.output.put(IDENT.as_bytes());
        transport.output.put(b"\r\n");
        transport.offer()?;
        Ok(transport)
    }

    /// Has `read` append up to `most` bytes as they came, and gives what it gives.
    pub fn receive<T>(&mut self, most: usize, read: impl FnOnce(SpareCapacity<'_, u8>) -> T) -> T {
        self.input.drain(..self.used);
        self.used = 0;
        self.input.reserve(most);
        read(spare_capacity(&mut self.input))
    }

    /// Moves what is to be sent into `into`, which is empty.
    pub fn take_output(&mut self, into: &mut Vec<u8>) {
        std::mem::swap(&mut self.output, into);
    }

    /// Bytes that wait to be sent.
    pub fn backlog(&self) -> usize {
        self.output.len() + self.held_bytes
    }

    /// Whether the layers above may send at once.
    pub fn is_open(&self) -> bool {
        self.session_id.is_some() && !self.exchanging()
    }

    /// `H` of the first key exchange, once there is one.
    pub fn session_id(&self) -> Option<&[u8; 32]> {
        self.session_id.as_ref()
    }

    /// The server's host key as it is sent.
    pub fn host_key(&self) -> &[u8] {
        self.host_key.public()
    }

    /// The client's identification line, once it is there.
    pub fn client_ident(&self) -> Option<&[u8]> {
        self.client_ident.as_deref()
    }

    /// Whether this side's KEXINIT is out and its NEWKEYS is not.
    fn exchanging(&self) -> bool {
        matches!(self.phase, Phase::Offered { .. } | Phase::Agreed { .. })
    }

    /// Sends a message of the layers above, or keeps it until the key exchange is over.
    pub fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        if self.exchanging() {
            let mut payload = Vec::new();
            write(&mut payload);
            self.held_bytes += payload.len();
            if self.held_bytes > MAX_HELD {
                return Err(Error::Unexpected("no end of a key exchange"));
            }
            self.held.push(payload);
            return Ok(());
        }
        self.seal(write)?;
        if self.sealer.bytes() > self.rekey_after && matches!(self.phase, Phase::Idle) {
            self.offer()?;
        }
        Ok(())
    }

    fn seal(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        self.sealer.seal(&mut self.output, write)
    }

    /// Says why the connection ends. Nothing may be sent after it.
    pub fn disconnect(&mut self, reason: Reason, text: &str) -> Result<(), Error> {
        self.seal(|out| {
            out.put_u8(message::DISCONNECT);
            out.put_u32(reason as u32);
            out.put_string(text.as_bytes());
            out.put_string(b"");
        })
    }

    /// Copies the next message of the layers above into `payload`. `false`: more bytes are needed.
    pub fn next_message(&mut self, payload: &mut Vec<u8>) -> Result<bool, Error> {
        if self.client_ident.is_none() && !self.read_ident()? {
            return Ok(false);
        }
        loop {
            let sequence = self.opener.sequence();
            let waiting = self.input.get_mut(self.used..).unwrap_or_default();
            let Some((opened, wire)) = self.opener.open(waiting)? else {
                return Ok(false);
            };
            payload.clear();
            payload.extend_from_slice(opened);
            self.used += wire;
            if self.opener.bytes() > self.rekey_after && matches!(self.phase, Phase::Idle) {
                self.offer()?;
            }
            if !self.own_message(payload, sequence)? {
                return Ok(true);
            }
        }
    }

    fn read_ident(&mut self) -> Result<bool, Error> {
        let waiting = self.input.get(self.used..).unwrap_or_default();
        let head = waiting.get(..MAX_IDENT).unwrap_or(waiting);
        let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
            return if head.len() < MAX_IDENT {
                Ok(false)
            } else {
                Err(Error::Ident)
            };
        };
        let line = head.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.starts_with(b"SSH-2.0-") {
            return Err(Error::Ident);
        }
        self.client_ident = Some(line.to_vec());
        self.used += end + 1;
        Ok(true)
    }

    /// Deals with a message of this layer. `false`: it belongs to the layers above.
    fn own_message(&mut self, payload: &[u8], sequence: u32) -> Result<bool, Error> {
        let Some(&number) = payload.first() else {
            return Err(Error::Unexpected("an empty packet"));
        };
        let first_exchange = self.session_id.is_none() || self.opener_is_clear();
        if let Phase::Agreed { skip, .. } = &mut self.phase
            && std::mem::take(skip)
        {
            return Ok(true);
        }
        match number {
            message::KEXINIT => self.client_offered(payload, first_exchange, sequence)?,
            message::KEX_ECDH_INIT => self.client_public(payload)?,
            message::NEWKEYS => self.client_switched()?,
            message::DISCONNECT => return Err(Error::Disconnected),
            _ if first_exchange && self.strict => {
                return Err(Error::Unexpected("a message inside the first key exchange"));
            }
            message::IGNORE | message::DEBUG | message::UNIMPLEMENTED | message::EXT_INFO => {}
            _ if first_exchange => return Err(Error::Unexpected("a message before the first key exchange")),
            message::PING => {
                let mut reader = Reader::new(payload.get(1..).unwrap_or_default());
                let data = reader.string()?.to_vec();
                self.send(|out| {
                    out.put_u8(message::PONG);
                    out.put_string(&data);
                })?;
            }
            message::SERVICE_REQUEST | message::USERAUTH_REQUEST..=message::CHANNEL_FAILURE => {
                // After a client's KEXINIT only the exchange may follow, RFC 4253 section 7.1.
                if matches!(self.phase, Phase::Agreed { .. } | Phase::Answered { .. }) {
                    return Err(Error::Unexpected("a message inside a key exchange"));
                }
                return Ok(false);
            }
            _ => self.send(|out| {
                out.put_u8(message::UNIMPLEMENTED);
                out.put_u32(sequence);
            })?,
        }
        Ok(true)
    }

    /// Whether the client's first NEWKEYS has yet to come.
    fn opener_is_clear(&self) -> bool {
        matches!(&self.phase, Phase::Answered { secret, .. } if Some(&secret.hash) == self.session_id.as_ref())
    }

    /// Sends this side's KEXINIT.
    fn offer(&mut self) -> Result<(), Error> {
        let mut cookie = [0; 16];
        self.random.fill(&mut cookie).map_err(|_| Error::Crypto)?;
        let offer = server_offer(&cookie, self.session_id.is_none());
        self.seal(|out| out.put(&offer))?;
        self.phase = Phase::Offered { offer };
        Ok(())
    }

    fn client_offered(&mut self, payload: &[u8], first: bool, sequence: u32) -> Result<(), Error> {
        if matches!(self.phase, Phase::Idle) {
            self.offer()?;
        }
        let Phase::Offered { offer } = &mut self.phase else {
            return Err(Error::Unexpected("a second KEXINIT"));
        };
        let offer = std::mem::take(offer);
        let agreed = agree(payload)?;
        if first && agreed.strict {
            if sequence != 0 {
                return Err(Error::Unexpected("a message before KEXINIT"));
            }
            self.strict = true;
        }
        self.phase = Phase::Agreed {
            offer,
            client_offer: payload.to_vec(),
            agreed,
            skip: agreed.wrong_guess,
        };
        Ok(())
    }

    fn client_public(&mut self, payload: &[u8]) -> Result<(), Error> {
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        let Phase::Agreed {
            offer,
            client_offer,
            agreed,
            ..
        } = phase
        else {
            return Err(Error::Unexpected("a public value outside a key exchange"));
        };
        let mut reader = Reader::new(payload.get(1..).unwrap_or_default());
        let public = reader.string()?;
        reader.end()?;
        let transcript = Transcript {
            client_ident: self.client_ident.as_deref().unwrap_or_default(),
            server_ident: IDENT.as_bytes(),
            client_offer: &client_offer,
            server_offer: &offer,
        };
        let answer = answer(agreed.exchange, public, &transcript, &self.host_key, &self.random)?;
        let host_key = self.host_key.clone();
        self.seal(|out| {
            out.put_u8(message::KEX_ECDH_REPLY);
            out.put_string(host_key.public());
            out.put_string(&answer.public);
            out.put_string(&answer.signature);
        })?;
        self.seal(|out| out.put_u8(message::NEWKEYS))?;
        let first = self.session_id.is_none();
        let session_id = *self.session_id.get_or_insert(answer.secret.hash);
        let (sealer, strict) = (&mut self.sealer, self.strict);
        answer
            .secret
            .keys(Direction::Outgoing, agreed.outgoing, &session_id, |keys| {
                sealer.rekey(keys, strict)
            })?;
        self.phase = Phase::Answered {
            secret: answer.secret,
            agreed,
        };
        if first && agreed.ext_info {
            self.send_extensions()?;
        }
        self.held_bytes = 0;
        for payload in std::mem::take(&mut self.held) {
            self.seal(|out| out.put(&payload))?;
        }
        Ok(())
    }

    /// EXT_INFO, RFC 8308: with it clients know that they may sign by RSA and SHA-2, and may hide keystrokes in pings.
    fn send_extensions(&mut self) -> Result<(), Error> {
        self.seal(|out| {
            out.put_u8(message::EXT_INFO);
            let extensions = [
                ("server-sig-algs", SIGNATURE_ALGORITHMS),
                ("publickey-hostbound@openssh.com", "0"),
                ("ping@openssh.com", "0"),
            ];
            out.put_u32(3);
            for (name, value) in extensions {
                out.put_string(name.as_bytes());
                out.put_string(value.as_bytes());
            }
        })
    }

    fn client_switched(&mut self) -> Result<(), Error> {
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        let (Phase::Answered { secret, agreed }, Some(session_id)) = (phase, &self.session_id) else {
            return Err(Error::Unexpected("NEWKEYS outside a key exchange"));
        };
        let (opener, strict) = (&mut self.opener, self.strict);
        secret.keys(Direction::Incoming, agreed.incoming, session_id, |keys| {
            opener.rekey(keys, strict)
        })
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field(
                "client",
                &self.client_ident.as_deref().map(String::from_utf8_lossy),
            )
            .field("host_key", &HOST_KEY)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ssh::host_key::tests::host_key;

    /// A transport that has received `bytes` as a client's first.
    fn after(bytes: &[u8]) -> Result<Transport, Error> {
        let mut transport = Transport::new(host_key().clone(), u64::MAX)?;
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(writer, bytes).unwrap();
        transport
            .receive(bytes.len().max(1), |spare| rustix::io::read(reader, spare))
            .unwrap();
        let mut payload = Vec::new();
        while transport.next_message(&mut payload)? {}
        Ok(transport)
    }

    fn clear_packet(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Sealer::clear().seal(&mut out, |out| out.put(payload)).unwrap();
        out
    }

    #[test]
    fn the_greeting_does_not_wait() {
        let mut transport = after(b"").unwrap();
        let mut output = Vec::new();
        transport.take_output(&mut output);
        assert!(output.starts_with(IDENT.as_bytes()));
        assert!(output.len() > IDENT.len() + 200, "the offer is part of it");
    }

    #[test]
    fn who_speaks_something_else_is_refused() {
        assert!(matches!(after(b"GET / HTTP/1.1\r\n"), Err(Error::Ident)));
        assert!(matches!(after(&[b'S'; MAX_IDENT]), Err(Error::Ident)));
        assert!(after(b"SSH-2.0-half").is_ok());
    }

    #[test]
    fn nothing_but_the_exchange_is_heard_before_it() {
        for number in [
            message::USERAUTH_REQUEST,
            message::CHANNEL_OPEN,
            message::PING,
            message::NEWKEYS,
        ] {
            let bytes = [b"SSH-2.0-x\r\n".to_vec(), clear_packet(&[number, 0, 0])].concat();
            assert!(matches!(after(&bytes), Err(Error::Unexpected(_))), "{number}");
        }
    }

    /// The truncation attack begins with a message slipped in before the keys (CVE-2023-48795).
    #[test]
    fn nothing_is_slipped_into_a_strict_exchange() {
        let offer = server_offer(&[0; 16], true);
        let text = String::from_utf8_lossy(&offer).into_owned();
        assert!(text.contains("kex-strict-s"));
        let strict: Vec<u8> = {
            let at = offer
                .windows(12)
                .position(|window| window == b"kex-strict-s")
                .unwrap();
            let mut offer = offer;
            offer[at + 11] = b'c';
            offer
        };
        let begin = b"SSH-2.0-x\r\n".to_vec();
        let ignore = clear_packet(&[message::IGNORE, 0, 0, 0, 0]);
        let early = [begin.clone(), ignore.clone(), clear_packet(&strict)].concat();
        assert!(matches!(after(&early), Err(Error::Unexpected(_))));
        let late = [begin.clone(), clear_packet(&strict), ignore].concat();
        assert!(matches!(after(&late), Err(Error::Unexpected(_))));
        assert!(after(&[begin, clear_packet(&strict)].concat()).is_ok());
    }

    proptest! {
        #[test]
        fn foreign_packets_never_panic(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 1..6), rest in prop::collection::vec(any::<u8>(), 0..50)) {
            let mut bytes = b"SSH-2.0-x\r\n".to_vec();
            for payload in &payloads {
                bytes.extend(clear_packet(payload));
            }
            bytes.extend(rest);
            let _ = after(&bytes);
        }
    }
}
