//! The server's half of a key exchange, and the keys that come of it.
//!
//! Formats: RFC 8731 (curve25519-sha256), RFC 4253 section 7.2 (keys), draft-ietf-sshm-mlkem-hybrid-kex
//! (mlkem768x25519-sha256, in which the shared secret is hashed as a string instead of an mpint).

use ml_kem::{EncapsulationKey, MlKem768, TryKeyInit as _};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use ring::digest::{self, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::Error;
use super::cipher::{Cipher, Keys};
use super::negotiation::Exchange;
use super::wire::Put as _;
use crate::ssh::host_key::HostKey;

/// Bytes of an ML-KEM 768 public key, FIPS 203.
const MLKEM_PUBLIC: usize = 1184;

/// What both sides have said before the exchange, which the exchange signs.
#[derive(Debug)]
pub struct Transcript<'a> {
    /// Identification lines without their ends.
    pub client_ident: &'a [u8],
    pub server_ident: &'a [u8],
    /// KEXINIT payloads.
    pub client_offer: &'a [u8],
    pub server_offer: &'a [u8],
}

/// A shared secret that only this connection knows, bound to its transcript.
pub struct Secret {
    /// `K` as it is hashed.
    encoded: Vec<u8>,
    /// `H`: of the first exchange also the session id.
    pub hash: [u8; 32],
}

/// The server's answer to a client's public value: its own, and its signature over everything.
#[derive(Debug)]
pub struct Answer {
    pub public: Vec<u8>,
    pub signature: Vec<u8>,
    pub secret: Secret,
}

/// Answers `client_public`.
pub fn answer(
    exchange: Exchange,
    client_public: &[u8],
    transcript: &Transcript<'_>,
    host_key: &HostKey,
    random: &SystemRandom,
) -> Result<Answer, Error> {
    let mut encoded = Vec::new();
    let public = match exchange {
        Exchange::X25519 => {
            let (public, shared) = x25519(client_public, random)?;
            encoded.put_unsigned(&shared);
            public
        }
        Exchange::MlKemX25519 => {
            let (lattice, curve) = client_public
                .split_at_checked(MLKEM_PUBLIC)
                .ok_or(Error::Exchange)?;
            let lattice =
                EncapsulationKey::<MlKem768>::new_from_slice(lattice).map_err(|_| Error::Exchange)?;
            let mut seed = [0; 32];
            random.fill(&mut seed).map_err(|_| Error::Crypto)?;
            let (ciphertext, lattice_secret) = lattice.encapsulate_deterministic(&seed.into());
            let (curve_public, curve_secret) = x25519(curve, random)?;
            let mut both = digest::Context::new(&SHA256);
            both.update(&lattice_secret);
            both.update(&curve_secret);
            encoded.put_string(both.finish().as_ref());
            [ciphertext.as_slice(), &curve_public].concat()
        }
    };
    let mut signed = Vec::with_capacity(4096);
    signed.put_string(transcript.client_ident);
    signed.put_string(transcript.server_ident);
    signed.put_string(transcript.client_offer);
    signed.put_string(transcript.server_offer);
    signed.put_string(host_key.public());
    signed.put_string(client_public);
    signed.put_string(&public);
    signed.put(&encoded);
    let hash = sha256(&[&signed]);
    Ok(Answer {
        signature: host_key.sign(&hash),
        public,
        secret: Secret { encoded, hash },
    })
}

/// The server's public value and the shared secret. A value of low order is refused by ring, RFC 8731 section 3.
fn x25519(client: &[u8], random: &SystemRandom) -> Result<(Vec<u8>, [u8; 32]), Error> {
    let own = EphemeralPrivateKey::generate(&X25519, random).map_err(|_| Error::Crypto)?;
    let public = own.compute_public_key().map_err(|_| Error::Crypto)?;
    let client = UnparsedPublicKey::new(&X25519, client);
    let shared = agreement::agree_ephemeral(own, &client, |shared| <[u8; 32]>::try_from(shared).ok());
    let shared = shared.ok().flatten().ok_or(Error::Exchange)?;
    Ok((public.as_ref().to_vec(), shared))
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

/// Which way keys are for.
#[derive(Clone, Copy, Debug)]
pub enum Direction {
    Incoming,
    Outgoing,
}

impl Secret {
    /// Runs `with` on the keys of one direction.
    pub fn keys<T>(
        &self,
        direction: Direction,
        cipher: Cipher,
        session_id: &[u8; 32],
        with: impl FnOnce(&Keys<'_>) -> T,
    ) -> T {
        let (iv_letter, key_letter) = match direction {
            Direction::Incoming => (b'A', b'C'),
            Direction::Outgoing => (b'B', b'D'),
        };
        let derive = |letter: u8| {
            let first = sha256(&[&self.encoded, &self.hash, &[letter], session_id]);
            let second = sha256(&[&self.encoded, &self.hash, &first]);
            [first, second].concat()
        };
        let (key, derived_iv) = (derive(key_letter), derive(iv_letter));
        let mut iv = [0; 12];
        iv.copy_from_slice(derived_iv.get(..12).unwrap_or(&[0; 12]));
        with(&Keys {
            cipher,
            key: key.get(..cipher.key_length()).unwrap_or(&key),
            iv: &iv,
        })
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ssh::host_key::tests::host_key;

    fn try_answer(exchange: Exchange, public: &[u8]) -> Result<Answer, Error> {
        let transcript = Transcript {
            client_ident: b"SSH-2.0-a",
            server_ident: b"SSH-2.0-b",
            client_offer: b"c",
            server_offer: b"d",
        };
        answer(exchange, public, &transcript, host_key(), &SystemRandom::new())
    }

    #[test]
    fn a_value_of_low_order_is_refused() {
        assert!(try_answer(Exchange::X25519, &[0; 32]).is_err());
        let mut hybrid = vec![0; MLKEM_PUBLIC + 32];
        assert!(try_answer(Exchange::MlKemX25519, &hybrid).is_err());
        hybrid[MLKEM_PUBLIC] = 9;
        assert!(try_answer(Exchange::MlKemX25519, &hybrid).is_ok());
    }

    proptest! {
        #[test]
        fn foreign_values_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1300)) {
            let _ = try_answer(Exchange::X25519, &bytes);
            let _ = try_answer(Exchange::MlKemX25519, &bytes);
        }
    }
}
