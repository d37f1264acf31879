//! Session tokens of the metadata service.
//!
//! Invariant: a token is valid from the moment it is given until its time to live is over, for this microVM and this
//! process only, and nothing is kept for it: it holds its expiry under a message authentication code.
//!
//! Where Firecracker encrypts the expiry, this signs it; guests must treat tokens as opaque in both. The size is the same.

use std::io;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Sha256;

/// Shortest and longest time to live, in seconds.
pub(super) const MIN_TTL: u32 = 1;
pub(super) const MAX_TTL: u32 = 21_600;

/// Expiry in milliseconds since the start, something unique, and as much of the code as fits.
const EXPIRY: usize = 8;
const UNIQUE: usize = 8;
const CODE: usize = 20;
const TOKEN: usize = EXPIRY + UNIQUE + CODE;

/// Not a time to live, in Firecracker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Invalid time to live value provided for token: {0}. Please provide a value between {MIN_TTL} and {MAX_TTL}."
)]
pub(super) struct InvalidTtl(pub u32);

/// Gives and checks tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    key: Hmac<Sha256>,
    start: Instant,
}

impl Tokens {
    /// With a new key, for the microVM `id`.
    pub(super) fn new(id: &str, now: Instant) -> io::Result<Self> {
        let mut secret = [0; 32];
        fill_random(&mut secret)?;
        let mut key = Hmac::<Sha256>::new_from_slice(&secret).map_err(io::Error::other)?;
        key.update(format!("microvmid={id}\0").as_bytes());
        Ok(Self { key, start: now })
    }

    /// A token for so many seconds from `now`.
    pub(super) fn give(&self, ttl: u32, now: Instant) -> Result<String, InvalidTtl> {
        if !(MIN_TTL..=MAX_TTL).contains(&ttl) {
            return Err(InvalidTtl(ttl));
        }
        let expiry = now.saturating_duration_since(self.start) + Duration::from_secs(u64::from(ttl));
        let mut token = [0; TOKEN];
        token[..EXPIRY].copy_from_slice(&millis(expiry).to_le_bytes());
        // Only so that no two tokens are alike: no secret hangs on it.
        let _ = fill_random(&mut token[EXPIRY..EXPIRY + UNIQUE]);
        let code = self.code(&token[..EXPIRY + UNIQUE]).finalize().into_bytes();
        token[EXPIRY + UNIQUE..].copy_from_slice(&code[..CODE]);
        Ok(STANDARD.encode(token))
    }

    /// Whether a token was given here and has not expired.
    pub(super) fn accepts(&self, token: &str, now: Instant) -> bool {
        let mut bytes = [0; TOKEN];
        if token.len() != TOKEN.div_ceil(3) * 4 || STANDARD.decode_slice(token, &mut bytes) != Ok(TOKEN) {
            return false;
        }
        let (signed, code) = bytes.split_at(EXPIRY + UNIQUE);
        let expiry = signed.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        self.code(signed).verify_truncated_left(code).is_ok()
            && expiry.is_some_and(|expiry| expiry > millis(now.saturating_duration_since(self.start)))
    }

    fn code(&self, signed: &[u8]) -> Hmac<Sha256> {
        self.key.clone().chain_update(signed)
    }
}

fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    // Up to 256 bytes come whole or not at all (getrandom(2)).
    getrandom(bytes, GetRandomFlags::empty())?;
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_lives_as_long_as_asked() {
        let now = Instant::now();
        let tokens = Tokens::new("vm", now).unwrap();
        let later = now + Duration::from_secs(100);
        let token = tokens.give(60, later).unwrap();
        assert_eq!(token.len(), 48);
        assert_ne!(tokens.give(60, later).unwrap(), token);
        assert!(tokens.accepts(&token, later));
        assert!(tokens.accepts(&token, later + Duration::from_millis(59_999)));
        assert!(!tokens.accepts(&token, later + Duration::from_secs(60)));
        assert!(!Tokens::new("vm", now).unwrap().accepts(&token, later));
        for ttl in [0, 21_601, u32::MAX] {
            assert_eq!(tokens.give(ttl, now), Err(InvalidTtl(ttl)));
        }
        assert_eq!(
            InvalidTtl(0).to_string(),
            "Invalid time to live value provided for token: 0. Please provide a value between 1 and 21600."
        );
    }

    proptest! {
        #[test]
        fn any_change_makes_a_token_invalid(at in 0usize..36, bit in 0u8..8, text in ".{0,80}") {
            let now = Instant::now();
            let tokens = Tokens::new("vm", now).unwrap();
            let mut bytes = STANDARD.decode(tokens.give(1, now).unwrap()).unwrap();
            bytes[at] ^= 1 << bit;
            prop_assert!(!tokens.accepts(&STANDARD.encode(bytes), now));
            prop_assert!(!tokens.accepts(&text, now));
        }
    }
}
