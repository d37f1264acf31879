//! Public keys of clients and their signatures.
//!
//! Formats: RFC 8709 (ed25519), RFC 5656 (ECDSA), RFC 4253 section 6.6 with RFC 8332 (RSA with SHA-2), OpenSSH's
//! PROTOCOL.u2f (security keys). RSA keys have 2,048 to 8,192 bits; SHA-1 is not accepted at all.

use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use super::wire::{Malformed, Put as _, Reader};

/// What a client may sign with, as the extension `server-sig-algs` says it.
pub const SIGNATURE_ALGORITHMS: &str = "ssh-ed25519,sk-ssh-ed25519@openssh.com,ecdsa-sha2-nistp256,\
    ecdsa-sha2-nistp384,sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"nistp256" => Some(Self::P256),
            b"nistp384" => Some(Self::P384),
            _ => None,
        }
    }

    /// Bytes of a coordinate.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind<'a> {
    Ed25519(&'a [u8]),
    Ecdsa(Curve, &'a [u8]),
    Rsa { n: &'a [u8], e: &'a [u8] },
}

/// What a security key says of the touch that made it sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Somebody touched it.
    pub present: bool,
    /// And proved who they are, by a PIN or a finger.
    pub verified: bool,
}

/// What a good signature has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Somebody has the private key.
    Key,
    /// Somebody has the security key.
    SecurityKey(Touch),
}

/// A public key as a client sent it.
#[derive(Clone, Copy, Debug)]
pub struct PublicKey<'a> {
    name: &'a [u8],
    kind: Kind<'a>,
    /// Of a security key: the application it signs for.
    application: Option<&'a [u8]>,
}

impl<'a> PublicKey<'a> {
    /// Reads a key blob. An unknown or unwanted type is an error as a broken one is.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(blob);
        let name = reader.string()?;
        let (kind, security_key) = match name {
            b"ssh-ed25519" => (Kind::Ed25519(reader.string()?), false),
            b"sk-ssh-ed25519@openssh.com" => (Kind::Ed25519(reader.string()?), true),
            b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" => (Self::point(&mut reader)?, false),
            b"sk-ecdsa-sha2-nistp256@openssh.com" => (Self::point(&mut reader)?, true),
            b"ssh-rsa" => {
                let e = reader.unsigned()?;
                (
                    Kind::Rsa {
                        n: reader.unsigned()?,
                        e,
                    },
                    false,
                )
            }
            _ => return Err(Malformed),
        };
        let application = if security_key {
            Some(reader.string()?)
        } else {
            None
        };
        reader.end()?;
        let key = Self {
            name,
            kind,
            application,
        };
        if key.is_consistent() {
            Ok(key)
        } else {
            Err(Malformed)
        }
    }

    fn point(reader: &mut Reader<'a>) -> Result<Kind<'a>, Malformed> {
        let curve = Curve::named(reader.string()?).ok_or(Malformed)?;
        Ok(Kind::Ecdsa(curve, reader.string()?))
    }

    /// The curve inside is the one of the name.
    fn is_consistent(&self) -> bool {
        match self.kind {
            Kind::Ecdsa(Curve::P256, _) => self.name.ends_with(b"nistp256") || self.application.is_some(),
            Kind::Ecdsa(Curve::P384, _) => self.name.ends_with(b"nistp384"),
            Kind::Ed25519(public) => public.len() == 32,
            Kind::Rsa { .. } => true,
        }
    }

    /// The name of its type.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// Whether `algorithm` is one that this key signs with.
    pub fn signs_with(&self, algorithm: &[u8]) -> bool {
        match self.kind {
            Kind::Rsa { .. } => matches!(algorithm, b"rsa-sha2-256" | b"rsa-sha2-512"),
            _ => algorithm == self.name,
        }
    }

    /// Checks a signature blob over `message`, made with `algorithm`.
    pub fn verify(&self, algorithm: &[u8], message: &[u8], signature: &[u8]) -> Option<Proof> {
        let mut reader = Reader::new(signature);
        if reader.string().ok()? != algorithm || !self.signs_with(algorithm) {
            return None;
        }
        let raw = reader.string().ok()?;
        let Some(application) = self.application else {
            reader.end().ok()?;
            return self.verify_raw(algorithm, message, raw).then_some(Proof::Key);
        };
        let (flags, counter) = (reader.u8().ok()?, reader.u32().ok()?);
        reader.end().ok()?;
        let mut signed = digest(&SHA256, application).as_ref().to_vec();
        signed.put_u8(flags);
        signed.put_u32(counter);
        signed.put(digest(&SHA256, message).as_ref());
        let touch = Touch {
            present: flags & 0x01 != 0,
            verified: flags & 0x04 != 0,
        };
        self.verify_raw(algorithm, &signed, raw)
            .then_some(Proof::SecurityKey(touch))
    }

    fn verify_raw(&self, algorithm: &[u8], message: &[u8], raw: &[u8]) -> bool {
        match self.kind {
            Kind::Ed25519(public) => verified(&ED25519, public, message, raw),
            Kind::Ecdsa(curve, point) => {
                let algorithm: &'static dyn VerificationAlgorithm = match curve {
                    Curve::P256 => &ECDSA_P256_SHA256_FIXED,
                    Curve::P384 => &ECDSA_P384_SHA384_FIXED,
                };
                fixed(raw, curve.size()).is_some_and(|raw| verified(algorithm, point, message, &raw))
            }
            Kind::Rsa { n, e } => {
                let parameters = if algorithm == b"rsa-sha2-512" {
                    &RSA_PKCS1_2048_8192_SHA512
                } else {
                    &RSA_PKCS1_2048_8192_SHA256
                };
                // Some signers leave leading zeros out.
                padded(raw, n.len()).is_some_and(|raw| {
                    RsaPublicKeyComponents { n, e }
                        .verify(parameters, message, &raw)
                        .is_ok()
                })
            }
        }
    }
}

fn verified(
    algorithm: &'static dyn VerificationAlgorithm,
    public: &[u8],
    message: &[u8],
    raw: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, public)
        .verify(message, raw)
        .is_ok()
}

/// An ECDSA signature's two numbers, each filled up to `size` bytes.
fn fixed(raw: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut reader = Reader::new(raw);
    let (r, s) = (reader.unsigned().ok()?, reader.unsigned().ok()?);
    reader.end().ok()?;
    Some([padded(r, size)?, padded(s, size)?].concat())
}

fn padded(number: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size.checked_sub(number.len())?];
    bytes.extend_from_slice(number);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;
    use crate::ssh::host_key::tests::{host_key, keygen};

    #[test]
    fn an_ed25519_signature_holds_for_its_message_only() {
        let key = PublicKey::parse(host_key().public()).unwrap();
        let signature = host_key().sign(b"message");
        assert_eq!(
            key.verify(b"ssh-ed25519", b"message", &signature),
            Some(Proof::Key)
        );
        assert_eq!(key.verify(b"ssh-ed25519", b"another", &signature), None);
        assert_eq!(key.verify(b"rsa-sha2-256", b"message", &signature), None);
    }

    /// A security key is an ECDSA key that signs more than the message.
    #[test]
    fn a_security_key_tells_of_its_touch() {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let name = b"sk-ecdsa-sha2-nistp256@openssh.com";
        let mut blob = Vec::new();
        blob.put_string(name);
        blob.put_string(b"nistp256");
        blob.put_string(pair.public_key().as_ref());
        blob.put_string(b"ssh:");
        let mut signed = digest(&SHA256, b"ssh:").as_ref().to_vec();
        signed.put_u8(1);
        signed.put_u32(42);
        signed.put(digest(&SHA256, b"message").as_ref());
        let raw = pair.sign(&random, &signed).unwrap();
        let mut numbers = Vec::new();
        numbers.put_unsigned(&raw.as_ref()[..32]);
        numbers.put_unsigned(&raw.as_ref()[32..]);
        let mut signature = Vec::new();
        signature.put_string(name);
        signature.put_string(&numbers);
        signature.put_u8(1);
        signature.put_u32(42);
        let key = PublicKey::parse(&blob).unwrap();
        let touch = Touch {
            present: true,
            verified: false,
        };
        assert_eq!(
            key.verify(name, b"message", &signature),
            Some(Proof::SecurityKey(touch))
        );
        assert_eq!(key.verify(name, b"other", &signature), None);
    }

    #[test]
    fn keys_of_ssh_keygen_are_read_and_dsa_like_ones_are_not() {
        for (kind, bits) in [("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "384")] {
            let (_, public) = keygen(&["-t", kind, "-b", bits, "-N", ""]);
            let blob = STANDARD.decode(public.split(' ').nth(1).unwrap()).unwrap();
            assert!(PublicKey::parse(&blob).is_ok(), "{public}");
        }
        let mut unknown = Vec::new();
        unknown.put_string(b"ssh-dss");
        assert!(PublicKey::parse(&unknown).is_err());
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(name in prop::sample::select(SIGNATURE_ALGORITHMS.split(',').collect::<Vec<_>>()), rest in prop::collection::vec(any::<u8>(), 0..200), signature in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut blob = Vec::new();
            blob.put_string(name.as_bytes());
            blob.put(&rest);
            if let Ok(key) = PublicKey::parse(&blob) {
                prop_assert_eq!(key.verify(name.as_bytes(), b"", &signature), None);
            }
        }
    }
}
