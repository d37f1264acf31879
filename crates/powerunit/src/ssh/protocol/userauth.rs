//! Requests of the authentication layer, RFC 4252. The only method is `publickey`.

use super::message;
use super::wire::{Malformed, Put as _, Reader};

/// The method's name; [`HOST_BOUND`] is OpenSSH's variant of it that also signs the host key.
const PUBLIC_KEY: &str = "publickey";
const HOST_BOUND: &str = "publickey-hostbound-v00@openssh.com";

/// One USERAUTH_REQUEST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub user: &'a str,
    pub service: &'a str,
    pub method: Method<'a>,
}

/// How the user wants to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// Would this key do?
    Query(Offer<'a>),
    /// This key, and a signature over `signed`.
    Signed {
        offer: Offer<'a>,
        signed: Vec<u8>,
        signature: &'a [u8],
    },
    /// Something that is not offered.
    Other,
}

/// A key, and what it would sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    pub algorithm: &'a [u8],
    pub key: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads a whole payload. A host-bound request for another host key than `host_key` is malformed.
    pub fn parse(payload: &'a [u8], session_id: &[u8], host_key: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload.get(1..).ok_or(Malformed)?);
        let (user, service, method) = (reader.text()?, reader.text()?, reader.text()?);
        let host_bound = method == HOST_BOUND;
        if method != PUBLIC_KEY && !host_bound {
            return Ok(Self {
                user,
                service,
                method: Method::Other,
            });
        }
        let signs = reader.bool()?;
        let offer = Offer {
            algorithm: reader.string()?,
            key: reader.string()?,
        };
        if host_bound && reader.string()? != host_key {
            return Err(Malformed);
        }
        let method = if signs {
            let before = payload.len() - reader.rest().len();
            let mut signed = Vec::new();
            signed.put_string(session_id);
            signed.put(payload.get(..before).ok_or(Malformed)?);
            Method::Signed {
                offer,
                signed,
                signature: reader.string()?,
            }
        } else {
            Method::Query(offer)
        };
        reader.end()?;
        Ok(Self {
            user,
            service,
            method,
        })
    }
}

/// "Not so, but by public key."
pub fn failure(out: &mut Vec<u8>) {
    out.put_u8(message::USERAUTH_FAILURE);
    out.put_string(PUBLIC_KEY.as_bytes());
    out.put_bool(false);
}

/// "That key would do."
pub fn key_accepted(out: &mut Vec<u8>, offer: &Offer<'_>) {
    out.put_u8(message::USERAUTH_PK_OK);
    out.put_string(offer.algorithm);
    out.put_string(offer.key);
}
