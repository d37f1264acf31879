//! What the two sides agree on: the lists of a KEXINIT, RFC 4253 section 7.1.
//!
//! The invariant: only algorithms that are sound today are offered, so that no choice of the client's weakens a
//! connection: authenticated ciphers, elliptic-curve and post-quantum hybrid key exchange, an ed25519 host key.

use super::cipher::Cipher;
use super::wire::{Put as _, Reader};
use super::{Error, message};

/// The only host key type there is.
pub const HOST_KEY: &str = "ssh-ed25519";

/// Says that this server resets packet counts at new keys and takes nothing unexpected before them (OpenSSH's PROTOCOL,
/// section 1.9: the defence against prefix truncation, CVE-2023-48795).
const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";
const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";

/// Says that a client takes EXT_INFO, RFC 8308.
const EXT_INFO_CLIENT: &str = "ext-info-c";

/// Named because some clients insist on agreeing on one; with authenticated ciphers it is never used.
const MACS: &str = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";

/// The key exchanges spoken, preferred ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// ML-KEM 768 and X25519 together: safe as long as either is.
    MlKemX25519,
    X25519,
}

impl Exchange {
    const NAMES: [(&str, Self); 3] = [
        ("mlkem768x25519-sha256", Self::MlKemX25519),
        ("curve25519-sha256", Self::X25519),
        ("curve25519-sha256@libssh.org", Self::X25519),
    ];
}

/// The payload of the server's KEXINIT.
pub fn server_offer(cookie: &[u8; 16], first: bool) -> Vec<u8> {
    let mut exchanges = Exchange::NAMES.map(|(name, _)| name).join(",");
    if first {
        exchanges = format!("{exchanges},{STRICT_SERVER}");
    }
    let ciphers = Cipher::ALL.map(Cipher::name).join(",");
    let mut payload = vec![message::KEXINIT];
    payload.put(cookie);
    let lists = [
        &exchanges, HOST_KEY, &ciphers, &ciphers, MACS, MACS, "none", "none", "", "",
    ];
    for list in lists {
        payload.put_string(list.as_bytes());
    }
    payload.put_bool(false);
    payload.put_u32(0);
    payload
}

/// What a client's KEXINIT and the server's own lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub exchange: Exchange,
    /// Client to server.
    pub incoming: Cipher,
    /// Server to client.
    pub outgoing: Cipher,
    /// The client asked for the strict rules. Counts in the first exchange only.
    pub strict: bool,
    /// The client takes EXT_INFO.
    pub ext_info: bool,
    /// The client has already sent a first message of another exchange than the agreed one: it is skipped.
    pub wrong_guess: bool,
}

/// Agrees with a client's KEXINIT: of each list the first of the client's that the server has.
pub fn agree(payload: &[u8]) -> Result<Agreed, Error> {
    let mut reader = Reader::new(payload);
    reader.u8()?;
    reader.take(16)?;
    let exchanges = reader.names()?;
    let host_keys = reader.names()?;
    let (incoming, outgoing) = (reader.names()?, reader.names()?);
    let _macs = (reader.names()?, reader.names()?);
    let compressions = (reader.names()?, reader.names()?);
    let _languages = (reader.names()?, reader.names()?);
    let guesses = reader.bool()?;
    reader.u32()?;

    let known = |name: &&str| Exchange::NAMES.into_iter().find(|(known, _)| known == name);
    let (_, exchange) = exchanges
        .iter()
        .find_map(known)
        .ok_or(Error::NothingInCommon("key exchange"))?;
    let cipher = |names: &[&str]| {
        let known = |name: &&str| Cipher::ALL.into_iter().find(|cipher| cipher.name() == *name);
        names
            .iter()
            .find_map(known)
            .ok_or(Error::NothingInCommon("cipher"))
    };
    if !host_keys.contains(&HOST_KEY) {
        return Err(Error::NothingInCommon("host key type"));
    }
    if !compressions.0.contains(&"none") || !compressions.1.contains(&"none") {
        return Err(Error::NothingInCommon("compression"));
    }
    // Right only if both sides put the same first, even where the client's first is what they agree on.
    let preferred = Exchange::NAMES.first().map(|(name, _)| name);
    let guessed = exchanges.first() == preferred && host_keys.first() == Some(&HOST_KEY);
    Ok(Agreed {
        exchange,
        incoming: cipher(&incoming)?,
        outgoing: cipher(&outgoing)?,
        strict: exchanges.contains(&STRICT_CLIENT),
        ext_info: exchanges.contains(&EXT_INFO_CLIENT),
        wrong_guess: guesses && !guessed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(exchanges: &str, host_keys: &str, ciphers: &str, guess: bool) -> Vec<u8> {
        let mut payload = vec![message::KEXINIT];
        payload.put(&[0; 16]);
        for list in [
            exchanges,
            host_keys,
            ciphers,
            ciphers,
            "",
            "",
            "none,zlib",
            "none",
            "",
            "",
        ] {
            payload.put_string(list.as_bytes());
        }
        payload.put_bool(guess);
        payload.put_u32(0);
        payload
    }

    #[test]
    fn the_clients_first_choice_wins() {
        let payload = offer(
            "sntrup761x25519-sha512@openssh.com,curve25519-sha256,ext-info-c,kex-strict-c-v00@openssh.com",
            "rsa-sha2-512,ssh-ed25519",
            "aes128-ctr,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com",
            true,
        );
        let agreed = Agreed {
            exchange: Exchange::X25519,
            incoming: Cipher::Aes128Gcm,
            outgoing: Cipher::Aes128Gcm,
            strict: true,
            ext_info: true,
            wrong_guess: true,
        };
        assert_eq!(agree(&payload).unwrap(), agreed);
    }

    #[test]
    fn a_guess_is_right_only_where_both_prefer_the_same() {
        let wrong = |exchanges: &str, host_keys: &str| {
            let payload = offer(exchanges, host_keys, "aes256-gcm@openssh.com", true);
            agree(&payload).unwrap().wrong_guess
        };
        assert!(!wrong(
            "mlkem768x25519-sha256,curve25519-sha256",
            "ssh-ed25519,rsa-sha2-512"
        ));
        assert!(wrong("curve25519-sha256,mlkem768x25519-sha256", "ssh-ed25519"));
        assert!(wrong("mlkem768x25519-sha256", "rsa-sha2-512,ssh-ed25519"));
    }

    #[test]
    fn weak_clients_are_told_what_is_missing() {
        let ciphers = "aes256-gcm@openssh.com";
        let old = offer("diffie-hellman-group14-sha1", HOST_KEY, ciphers, false);
        assert!(matches!(agree(&old), Err(Error::NothingInCommon("key exchange"))));
        let rsa = offer("curve25519-sha256", "ssh-rsa", ciphers, false);
        assert!(matches!(
            agree(&rsa),
            Err(Error::NothingInCommon("host key type"))
        ));
        let cbc = offer("curve25519-sha256", HOST_KEY, "aes128-cbc", false);
        assert!(matches!(agree(&cbc), Err(Error::NothingInCommon("cipher"))));
    }

    #[test]
    fn the_servers_own_offer_is_one_it_would_accept() {
        let agreed = agree(&server_offer(&[1; 16], true)).unwrap();
        assert_eq!(agreed.exchange, Exchange::MlKemX25519);
        assert!(!agreed.wrong_guess);
    }
}
