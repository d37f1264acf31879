//! The metadata service (MMDS): a JSON document put by the host's user and read by the guest over HTTP at a link-local
//! address, as Firecracker serves it (its docs/mmds).
//!
//! Invariants: API and guest see the same document, whole or not at all; what the guest may learn is decided in
//! `answer`, without I/O; nothing about the guest's requests is kept beyond its connections (session tokens carry their
//! own expiry under a key of this process).
//!
//! | module | what it does |
//! |---|---|
//! | `document` | a place in the document, as JSON or as EC2's text |
//! | `token` | session tokens |
//! | `http` | requests and responses on the wire |
//! | `answer` | which response a request gets |
//! | `stack` | Ethernet, ARP, IP and TCP towards one interface of the guest |

mod answer;
mod document;
mod http;
mod metrics;
mod stack;
mod token;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use firecracker_api::models::{MmdsConfig, MmdsVersion};
use firecracker_api::server::{Fault, rules};
use serde_json::Value;

pub use metrics::Metrics;
pub(crate) use stack::Stack;

use self::token::Tokens;

/// The service of one microVM, shared by the API and the guest's interfaces.
#[derive(Debug, Clone)]
pub struct Mmds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    contents: Option<Value>,
    /// Bytes of JSON the contents may have.
    limit: usize,
    version: MmdsVersion,
    imds_compat: bool,
    tokens: Tokens,
}

impl Mmds {
    /// An empty service for the microVM `id`, with at most `limit` bytes of JSON. Fails if there is no randomness for
    /// the key of its tokens.
    pub fn new(id: &str, limit: usize) -> io::Result<Self> {
        let tokens = Tokens::new(id, Instant::now())?;
        let state = State {
            contents: None,
            limit,
            version: MmdsVersion::default(),
            imds_compat: false,
            tokens,
        };
        Ok(Self(Arc::new(Shared {
            state: Mutex::new(state),
            metrics: Metrics::default(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `PUT /mmds/config`, already validated.
    pub fn configure(&self, config: &MmdsConfig) {
        let mut state = self.state();
        state.version = config.version;
        state.imds_compat = config.imds_compat;
    }

    /// `PUT /mmds`
    pub fn put(&self, contents: Value) -> Result<(), Fault> {
        let mut state = self.state();
        state.contents = Some(rules::put_mmds(contents, state.limit)?);
        Ok(())
    }

    /// `PATCH /mmds`
    pub fn patch(&self, patch: &Value) -> Result<(), Fault> {
        let mut state = self.state();
        state.contents = Some(rules::patch_mmds(state.contents.as_ref(), patch, state.limit)?);
        Ok(())
    }

    /// `GET /mmds`; null before anything was put.
    #[must_use]
    pub fn get(&self) -> Value {
        self.state().contents.clone().unwrap_or_default()
    }

    /// What the guest's interfaces have asked so far.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The response to one request of the guest, both as bytes of HTTP: what is no request gets a refusal.
    #[must_use]
    pub fn respond(&self, request: &[u8], now: Instant) -> Vec<u8> {
        match http::Request::parse(request) {
            Ok(request) => answer::answer(&self.state(), &self.0.metrics, &request, now).encode(),
            Err(refusal) => refusal.encode(),
        }
    }
}
