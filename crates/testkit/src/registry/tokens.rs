//! A token server, as distribution's `spec/auth/token.md` and `oauth.md` describe it.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use super::head::{self, Seen};
use super::{PASSWORD, USER};

pub(super) const SERVICE: &str = "pit-lane";
pub(super) const ISSUER: &str = "race-control";
/// How much longer the registry takes a token than it says (distribution 2.8, `token.Leeway`).
const LEEWAY: i64 = 60;
const MAX_BODY: u64 = 64 * 1024;

/// What one request for a token was given.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who asked: [`USER`], or nobody.
    pub user: Option<String>,
    pub scopes: Vec<String>,
    /// With which method: GET, or POST for a refresh token.
    pub method: String,
}

/// A running token server. Everybody may pull, [`USER`] may do all; it ends when dropped.
#[derive(Debug)]
pub struct TokenServer {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    certificate: String,
    der: String,
    key: EcdsaKeyPair,
    /// In seconds, of the next tokens: for how long the registry takes them, and what their receiver is told of that.
    lifetimes: Mutex<Vec<(i64, i64)>>,
    grants: Mutex<Vec<Grant>>,
    public: AtomicBool,
    over: AtomicBool,
}

/// What [`TokenServer`] takes as a refresh token of [`USER`]'s.
const IDENTITY: &str = "paddock-pass";

impl Default for TokenServer {
    fn default() -> Self {
        Self::new()
    }
}

impl TokenServer {
    /// # Panics
    /// When there is no port, or no key can be made.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters without names");
        params.distinguished_name.push(DnType::CommonName, ISSUER);
        // The registry's list of whom it trusts, and the signer, in one.
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let signer = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &key.serialize_der(),
            &SystemRandom::new(),
        );
        let shared = Arc::new(Shared {
            certificate: certificate.pem(),
            der: STANDARD.encode(certificate.der()),
            key: signer.expect("a key of that kind"),
            lifetimes: Mutex::default(),
            grants: Mutex::default(),
            public: AtomicBool::new(true),
            over: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a bound socket").port();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.over.load(Ordering::Relaxed) {
                    return;
                }
                // The client may go at any time.
                let _ = serve(client, &serving);
            }
        });
        Self { port, shared }
    }

    /// Its address.
    #[must_use]
    pub fn realm(&self) -> String {
        format!("http://localhost:{}/token", self.port)
    }

    /// What a registry trusts.
    pub(super) fn certificate(&self) -> &str {
        &self.shared.certificate
    }

    /// The refresh token of [`USER`].
    #[must_use]
    pub fn identity(&self) -> &'static str {
        IDENTITY
    }

    /// The next token is taken by the registry for `real` seconds, while its receiver is told `told`.
    pub fn next_lifetime(&self, real: i64, told: i64) {
        lock(&self.shared.lifetimes).push((real, told));
    }

    /// From now on only [`USER`] gets anything.
    pub fn close(&self) {
        self.shared.public.store(false, Ordering::Relaxed);
    }

    /// What was given so far.
    #[must_use]
    pub fn grants(&self) -> Vec<Grant> {
        lock(&self.shared.grants).clone()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(seen) = head::request(&mut client)? else {
        return Ok(());
    };
    let query = match seen.method.as_str() {
        "POST" => body(&mut client, &seen)?,
        _ => seen
            .target
            .split_once('?')
            .map_or_else(String::new, |(_, query)| query.to_owned()),
    };
    let pairs: Vec<(String, String)> = query.split('&').filter_map(pair).collect();
    let Some(user) = user(&seen, &pairs) else {
        return client.write_all(&head::answer(
            401,
            &[],
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"no such driver"}]}"#,
        ));
    };
    let scopes: Vec<String> = pairs
        .iter()
        .filter(|(name, _)| name == "scope")
        .flat_map(|(_, scopes)| scopes.split(' '))
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect();
    let known = user.is_some();
    lock(&shared.grants).push(Grant {
        user: user.clone(),
        scopes: scopes.clone(),
        method: seen.method,
    });
    let public = shared.public.load(Ordering::Relaxed);
    let access: Vec<Value> = scopes
        .iter()
        .filter_map(|scope| grant(scope, known, public))
        .collect();
    let lifetimes = &mut *lock(&shared.lifetimes);
    let (real, told) = if lifetimes.is_empty() {
        (300, 300)
    } else {
        lifetimes.remove(0)
    };
    let token = sign(shared, user.as_deref(), &access, real);
    let name = if known { "access_token" } else { "token" };
    let text = json!({ name: token, "expires_in": told }).to_string();
    client.write_all(&head::answer(200, &[("Content-Type", "application/json")], &text))
}

/// Who asks. The outer `None`: one who is not known.
fn user(seen: &Seen, pairs: &[(String, String)]) -> Option<Option<String>> {
    let known = Some(Some(USER.to_owned()));
    if let Some((_, token)) = pairs.iter().find(|(name, _)| name == "refresh_token") {
        return known.filter(|_| token == IDENTITY);
    }
    match seen.header("authorization") {
        None => Some(None),
        Some(value) => {
            let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
            known.filter(|_| value == expected)
        }
    }
}

/// `repository:NAME:ACTIONS`, as far as the asker has the right to it.
fn grant(scope: &str, known: bool, public: bool) -> Option<Value> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let allowed = |action: &&str| known || (public && *action == "pull");
    let actions: Vec<&str> = actions.split(',').filter(allowed).collect();
    Some(json!({ "type": kind, "name": name, "actions": actions }))
}

/// A JSON web token (RFC 7519) with ES256, and the signer's certificate in it.
fn sign(shared: &Shared, user: Option<&str>, access: &[Value], lifetime: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock that is set");
    let now = i64::try_from(now.as_secs()).expect("a time in this age");
    let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [shared.der] });
    let claims = json!({
        "iss": ISSUER, "sub": user.unwrap_or_default(), "aud": SERVICE,
        "exp": now - LEEWAY + lifetime, "nbf": now - 600, "iat": now - 600, "jti": "1", "access": access,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let signature = shared.key.sign(&SystemRandom::new(), text.as_bytes());
    format!(
        "{text}.{}",
        URL_SAFE_NO_PAD.encode(signature.expect("a signature"))
    )
}

fn body(client: &mut TcpStream, seen: &Seen) -> io::Result<String> {
    let length = seen
        .header("content-length")
        .and_then(|length| length.parse().ok());
    let mut text = String::new();
    client
        .take(length.unwrap_or(0).min(MAX_BODY))
        .read_to_string(&mut text)?;
    Ok(text)
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    Some((decode(name), decode(value)))
}

/// Undoes the encoding of a query.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
