//! Packets on the wire: framing and the three authenticated ciphers.
//!
//! The invariant: nothing of a packet is used before its tag was checked, but its length, which is bounded first.
//! Each direction counts its packets; the count is part of every tag (chacha20-poly1305) or the nonce advances with it
//! (AES-GCM), so no packet can be dropped, repeated or moved.
//!
//! Formats: RFC 4253 section 6, RFC 5647 as used by OpenSSH's `aes*-gcm@openssh.com`, OpenSSH's
//! PROTOCOL.chacha20poly1305.

use ring::aead::chacha20_poly1305_openssh as chacha;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::Error;

/// The longest packet accepted, in bytes, without its length field and tag. RFC 4253 section 6.1 asks for 35,000.
pub const MAX_PACKET: usize = 64 * 1024;

const LENGTH: usize = 4;
const TAG: usize = 16;

/// The ciphers spoken, in the words of key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    Chacha20Poly1305,
    Aes256Gcm,
    Aes128Gcm,
}

impl Cipher {
    pub const ALL: [Self; 3] = [Self::Chacha20Poly1305, Self::Aes256Gcm, Self::Aes128Gcm];

    pub fn name(self) -> &'static str {
        match self {
            Self::Chacha20Poly1305 => "chacha20-poly1305@openssh.com",
            Self::Aes256Gcm => "aes256-gcm@openssh.com",
            Self::Aes128Gcm => "aes128-gcm@openssh.com",
        }
    }

    /// How many bytes of key are derived.
    pub fn key_length(self) -> usize {
        match self {
            Self::Chacha20Poly1305 => chacha::KEY_LEN,
            Self::Aes256Gcm => 32,
            Self::Aes128Gcm => 16,
        }
    }
}

/// AES-GCM with OpenSSH's nonce: 4 fixed bytes and a counter of packets.
struct Gcm {
    key: LessSafeKey,
    fixed: [u8; 4],
    counter: u64,
}

impl Gcm {
    fn new(algorithm: &'static ring::aead::Algorithm, key: &[u8], iv: &[u8; 12]) -> Option<Self> {
        let (fixed, counter) = iv.split_first_chunk()?;
        Some(Self {
            key: LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?),
            fixed: *fixed,
            counter: u64::from_be_bytes(counter.try_into().ok()?),
        })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        let (fixed, counter) = nonce.split_at_mut(4);
        fixed.copy_from_slice(&self.fixed);
        counter.copy_from_slice(&self.counter.to_be_bytes());
        self.counter = self.counter.wrapping_add(1);
        Nonce::assume_unique_for_key(nonce)
    }
}

enum Sealing {
    Clear,
    Chacha(Box<chacha::SealingKey>),
    Gcm(Box<Gcm>),
}

enum Opening {
    Clear,
    Chacha(Box<chacha::OpeningKey>),
    Gcm(Box<Gcm>),
}

/// Key material of one direction, as derived.
pub struct Keys<'a> {
    pub cipher: Cipher,
    pub key: &'a [u8],
    pub iv: &'a [u8; 12],
}

impl Keys<'_> {
    fn gcm(&self) -> Option<Gcm> {
        let algorithm = if self.cipher == Cipher::Aes256Gcm {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        Gcm::new(algorithm, self.key, self.iv)
    }
}

/// Turns payloads into packets.
pub struct Sealer {
    cipher: Sealing,
    sequence: u32,
    /// Bytes sealed with these keys.
    bytes: u64,
}

impl Sealer {
    pub fn clear() -> Self {
        Self {
            cipher: Sealing::Clear,
            sequence: 0,
            bytes: 0,
        }
    }

    /// From here on with these keys, and with packets counted anew if `reset`.
    pub fn rekey(&mut self, keys: &Keys<'_>, reset: bool) -> Result<(), Error> {
        self.cipher = match keys.cipher {
            Cipher::Chacha20Poly1305 => {
                let key = keys.key.try_into().map_err(|_| Error::Crypto)?;
                Sealing::Chacha(Box::new(chacha::SealingKey::new(key)))
            }
            Cipher::Aes256Gcm | Cipher::Aes128Gcm => Sealing::Gcm(Box::new(keys.gcm().ok_or(Error::Crypto)?)),
        };
        self.bytes = 0;
        if reset {
            self.sequence = 0;
        }
        Ok(())
    }

    /// Bytes sealed since the last [`Self::rekey`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends to `out` one packet, whose payload `write` appends.
    pub fn seal(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH + 1]);
        write(out);
        // The length field counts for the block size only in the clear: with these ciphers it is not part of it.
        let (block, counted) = match self.cipher {
            Sealing::Clear => (8, out.len() - start),
            Sealing::Chacha(_) => (8, out.len() - start - LENGTH),
            Sealing::Gcm(_) => (16, out.len() - start - LENGTH),
        };
        let short = block - counted % block;
        let padding = if short < 4 { short + block } else { short };
        // Random padding protects nothing under an AEAD, and would cost a system call a packet.
        out.resize(out.len() + padding, 0);
        let length = out.len() - start - LENGTH;
        let length = u32::try_from(length).map_err(|_| Error::TooLong(length))?;
        let packet = out.get_mut(start..).ok_or(Error::Crypto)?;
        let (head, body) = packet.split_first_chunk_mut::<LENGTH>().ok_or(Error::Crypto)?;
        *head = length.to_be_bytes();
        *body.first_mut().ok_or(Error::Crypto)? = u8::try_from(padding).map_err(|_| Error::Crypto)?;
        let mut tag = [0; TAG];
        match &mut self.cipher {
            Sealing::Clear => {}
            Sealing::Chacha(key) => {
                key.seal_in_place(self.sequence, packet, &mut tag);
                out.extend_from_slice(&tag);
            }
            Sealing::Gcm(gcm) => {
                let (nonce, aad) = (gcm.nonce(), Aad::from(*head));
                let sealed = gcm.key.seal_in_place_separate_tag(nonce, aad, body);
                out.extend_from_slice(sealed.map_err(|_| Error::Crypto)?.as_ref());
            }
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.bytes += u64::from(length);
        Ok(())
    }
}

/// Turns received bytes into payloads.
pub struct Opener {
    cipher: Opening,
    sequence: u32,
    /// Bytes opened with these keys.
    bytes: u64,
}

impl Opener {
    pub fn clear() -> Self {
        Self {
            cipher: Opening::Clear,
            sequence: 0,
            bytes: 0,
        }
    }

    /// As [`Sealer::rekey`].
    pub fn rekey(&mut self, keys: &Keys<'_>, reset: bool) -> Result<(), Error> {
        self.cipher = match keys.cipher {
            Cipher::Chacha20Poly1305 => {
                let key = keys.key.try_into().map_err(|_| Error::Crypto)?;
                Opening::Chacha(Box::new(chacha::OpeningKey::new(key)))
            }
            Cipher::Aes256Gcm | Cipher::Aes128Gcm => Opening::Gcm(Box::new(keys.gcm().ok_or(Error::Crypto)?)),
        };
        self.bytes = 0;
        if reset {
            self.sequence = 0;
        }
        Ok(())
    }

    /// Bytes opened since the last [`Self::rekey`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of the packet that comes next.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Opens the packet at the start of `bytes`, in place. Gives its payload and its length on the wire, or `None` if it
    /// is not all there yet.
    pub fn open<'a>(&mut self, bytes: &'a mut [u8]) -> Result<Option<(&'a [u8], usize)>, Error> {
        let Some(head) = bytes.first_chunk::<LENGTH>().copied() else {
            return Ok(None);
        };
        let (clear, tag) = match &self.cipher {
            Opening::Clear => (head, 0),
            Opening::Chacha(key) => (key.decrypt_packet_length(self.sequence, head), TAG),
            Opening::Gcm(_) => (head, TAG),
        };
        let length = u32::from_be_bytes(clear) as usize;
        if !(6..=MAX_PACKET).contains(&length) {
            return Err(Error::TooLong(length));
        }
        let wire = LENGTH + length + tag;
        let Some(packet) = bytes.get_mut(..wire) else {
            return Ok(None);
        };
        let plain: &[u8] = match &mut self.cipher {
            Opening::Clear => packet.get(LENGTH..).unwrap_or_default(),
            Opening::Chacha(key) => {
                let (sealed, tag) = packet.split_last_chunk_mut::<TAG>().ok_or(Error::Crypto)?;
                key.open_in_place(self.sequence, sealed, tag)
                    .map_err(|_| Error::Crypto)?
            }
            Opening::Gcm(gcm) => {
                let sealed = packet.get_mut(LENGTH..).unwrap_or_default();
                let (nonce, aad) = (gcm.nonce(), Aad::from(head));
                gcm.key
                    .open_in_place(nonce, aad, sealed)
                    .map_err(|_| Error::Crypto)?
            }
        };
        let (&padding, rest) = plain.split_first().ok_or(Error::Crypto)?;
        let payload = rest
            .len()
            .checked_sub(usize::from(padding))
            .ok_or(Error::Crypto)?;
        self.sequence = self.sequence.wrapping_add(1);
        self.bytes += length as u64;
        Ok(Some((rest.get(..payload).unwrap_or_default(), wire)))
    }
}

impl std::fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(cipher: Option<Cipher>) -> (Sealer, Opener) {
        let (mut sealer, mut opener) = (Sealer::clear(), Opener::clear());
        if let Some(cipher) = cipher {
            let key = [7; 64];
            let keys = Keys {
                cipher,
                key: &key[..cipher.key_length()],
                iv: &[9; 12],
            };
            sealer.rekey(&keys, true).unwrap();
            opener.rekey(&keys, true).unwrap();
        }
        (sealer, opener)
    }

    fn any_cipher() -> impl Strategy<Value = Option<Cipher>> {
        prop::option::of(prop::sample::select(Cipher::ALL.to_vec()))
    }

    proptest! {
        #[test]
        fn packets_survive(cipher in any_cipher(), payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 1..6)) {
            let (mut sealer, mut opener) = pair(cipher);
            let mut wire = Vec::new();
            for payload in &payloads {
                sealer.seal(&mut wire, |out| out.extend_from_slice(payload)).unwrap();
            }
            for payload in &payloads {
                let (got, length) = opener.open(&mut wire).unwrap().unwrap();
                prop_assert_eq!(got, &payload[..]);
                wire.drain(..length);
            }
            prop_assert!(wire.is_empty());
        }

        #[test]
        fn a_changed_packet_is_refused(cipher in prop::sample::select(Cipher::ALL.to_vec()), payload in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0u8..8) {
            let (mut sealer, mut opener) = pair(Some(cipher));
            let mut wire = Vec::new();
            sealer.seal(&mut wire, |out| out.extend_from_slice(&payload)).unwrap();
            let at = at.index(wire.len());
            wire[at] ^= 1 << bit;
            // A changed length may also ask for more bytes than there are.
            prop_assert!(!matches!(opener.open(&mut wire), Ok(Some(_))));
        }

        #[test]
        fn foreign_bytes_never_panic(cipher in any_cipher(), mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (_, mut opener) = pair(cipher);
            let _ = opener.open(&mut bytes);
        }
    }
}
