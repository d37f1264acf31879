//! The server's own key: ed25519, given by the host in OpenSSH's PEM form (OpenSSH's PROTOCOL.key), not encrypted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::protocol::wire::{Put as _, Reader};

const TYPE: &[u8] = b"ssh-ed25519";

/// Why a text is no usable host key. The text itself is a secret and is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the host key is not an OpenSSH private key in PEM form")]
    NotPem,
    #[error("the host key is protected by a passphrase; make one with `ssh-keygen -t ed25519 -N ''`")]
    Encrypted,
    #[error("the host key is not of type ed25519; make one with `ssh-keygen -t ed25519 -N ''`")]
    NotEd25519,
    #[error("the host key is damaged")]
    Damaged,
}

/// A key pair that signs the server's side of key exchanges.
pub struct HostKey {
    pair: Ed25519KeyPair,
    public: Vec<u8>,
}

impl HostKey {
    /// Reads the text of a key file.
    pub fn from_openssh(pem: &str) -> Result<Self, Error> {
        let body = pem
            .trim()
            .strip_prefix("-----BEGIN OPENSSH PRIVATE KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END OPENSSH PRIVATE KEY-----"))
            .ok_or(Error::NotPem)?;
        let base64: String = body.split_ascii_whitespace().collect();
        let bytes = STANDARD.decode(base64).map_err(|_| Error::NotPem)?;
        let sealed = bytes.strip_prefix(b"openssh-key-v1\0").ok_or(Error::NotPem)?;
        let private = private_part(sealed)?;
        let (seed, public) = ed25519_part(private)?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| Error::Damaged)?;
        let mut blob = Vec::new();
        blob.put_string(TYPE);
        blob.put_string(pair.public_key().as_ref());
        Ok(Self { pair, public: blob })
    }

    /// The public key as it is sent, RFC 8709 section 4.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// A signature as it is sent, RFC 8709 section 6.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(TYPE);
        blob.put_string(self.pair.sign(message).as_ref());
        blob
    }
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostKey").finish_non_exhaustive()
    }
}

/// The list of private keys inside the envelope.
fn private_part(bytes: &[u8]) -> Result<&[u8], Error> {
    let mut reader = Reader::new(bytes);
    let mut field = || reader.string().map_err(|_| Error::Damaged);
    let (cipher, kdf, _options) = (field()?, field()?, field()?);
    if cipher != b"none" || kdf != b"none" {
        return Err(Error::Encrypted);
    }
    if reader.u32().map_err(|_| Error::Damaged)? != 1 {
        return Err(Error::Damaged);
    }
    let _public = reader.string().map_err(|_| Error::Damaged)?;
    reader.string().map_err(|_| Error::Damaged)
}

/// Seed and public key of the only key in the list.
fn ed25519_part(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut reader = Reader::new(bytes);
    let mut number = || reader.u32().map_err(|_| Error::Damaged);
    if number()? != number()? {
        return Err(Error::Damaged);
    }
    if reader.string().map_err(|_| Error::Damaged)? != TYPE {
        return Err(Error::NotEd25519);
    }
    let public = reader.string().map_err(|_| Error::Damaged)?;
    let private = reader.string().map_err(|_| Error::Damaged)?;
    Ok((private.get(..32).ok_or(Error::Damaged)?, public))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;
    use std::sync::{Arc, OnceLock};

    use super::*;

    /// A fresh key pair of ssh-keygen, as the texts of its two files.
    pub(crate) fn keygen(arguments: &[&str]) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let status = Command::new("ssh-keygen")
            .args(["-q", "-f"])
            .arg(&path)
            .args(arguments)
            .status();
        assert!(status.unwrap().success());
        let read = |path| std::fs::read_to_string(path).unwrap();
        (read(path.clone()), read(path.with_extension("pub")))
    }

    /// One host key for all tests of this process.
    pub(crate) fn host_key() -> &'static Arc<HostKey> {
        static KEY: OnceLock<Arc<HostKey>> = OnceLock::new();
        KEY.get_or_init(|| Arc::new(HostKey::from_openssh(&keygen(&["-t", "ed25519", "-N", ""]).0).unwrap()))
    }

    #[test]
    fn a_key_of_ssh_keygen_is_read() {
        let (private, public) = keygen(&["-t", "ed25519", "-N", ""]);
        let key = HostKey::from_openssh(&private).unwrap();
        assert_eq!(public.split(' ').nth(1), Some(&STANDARD.encode(key.public())[..]));
    }

    #[test]
    fn other_keys_are_refused_with_the_reason() {
        let refused = |pem: &str| HostKey::from_openssh(pem).unwrap_err();
        assert!(matches!(refused("hello"), Error::NotPem));
        let (ecdsa, _) = keygen(&["-t", "ecdsa", "-N", ""]);
        assert!(matches!(refused(&ecdsa), Error::NotEd25519));
        let (encrypted, _) = keygen(&["-t", "ed25519", "-N", "secret"]);
        assert!(matches!(refused(&encrypted), Error::Encrypted));
        let (whole, _) = keygen(&["-t", "ed25519", "-N", ""]);
        let lines: Vec<&str> = whole.lines().collect();
        let cut = [lines[0], lines[1], lines[lines.len() - 1]].join("\n");
        assert!(HostKey::from_openssh(&cut).is_err());
    }
}
