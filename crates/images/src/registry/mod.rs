//! Registries: images fetched from them and sent to them. Protocol: OCI distribution specification 1.1.
//!
//! The invariant: what comes from outside is bounded in size and time and is what its digest says; what identifies the user
//! goes nowhere but to the registry (and the token server it names) that it is stored for.
//!
//! Asynchronous, on tokio; the rest of the crate is not. Built on reqwest: why not on the `oci-client` crate is told in
//! `docs/adr/0005-registry-client.md`.
//!
//! - [`config`]: hosts, mirrors, authorities, proxies, patience
//! - [`credentials`]: what `login` of ours, of Docker and of Podman left
//! - `http`: one request: who asks, redirects, refusals, pauses; `reach`: why nobody could be asked
//! - `pull`, `push`, `login`: what [`Registries`] does with them; `stored`: from and to this crate's store of images

pub mod config;
pub mod credentials;
mod error;
mod event;
mod http;
mod login;
mod pull;
mod push;
mod reach;
mod secret;
mod stored;
mod text;

use std::fmt;
use std::sync::Arc;

pub use config::Configuration;
pub use error::RegistryError;
pub use event::{BlobState, Event};
pub use http::{Challenge, parse_challenge, retry_after};
pub use login::LoggedIn;
pub use pull::{BlobPart, BlobSink, CommitError, Pulled, SinkError};
pub use push::{BlobSource, Outgoing};
pub use reach::{Reason, Unreached};
pub use secret::Secret;
pub use stored::TransferError;

use self::http::Transport;

/// The registries as one user sees them. Connections are kept while it lives.
#[derive(Clone)]
pub struct Registries {
    transport: Arc<Transport>,
}

impl Registries {
    #[must_use]
    pub fn new(configuration: Configuration) -> Self {
        Self {
            transport: Arc::new(Transport::new(Arc::new(configuration))),
        }
    }

    fn configuration(&self) -> &Configuration {
        self.transport.configuration()
    }

    fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registries").field(self.configuration()).finish()
    }
}
