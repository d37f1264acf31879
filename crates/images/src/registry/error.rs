//! What can go wrong between this machine and a registry.

use std::time::Duration;

use super::config::ConfigError;
use super::credentials::CredentialError;
use super::pull::SinkError;
use super::reach::Unreached;
use crate::oci::{Digest, ManifestError, WalkError};

/// Why an image could not be fetched or sent.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("the registries' configuration cannot be used")]
    Config(#[from] ConfigError),
    #[error("the credentials cannot be used")]
    Credentials(#[from] CredentialError),
    #[error(transparent)]
    Unreachable(Unreached),
    #[error("{host} broke off: {reason}")]
    Broken { host: String, reason: String },
    #[error("no connection can be made")]
    Client(#[source] reqwest::Error),
    #[error("{host} has not answered within {} s", .after.as_secs())]
    Silent { host: String, after: Duration },
    #[error("{host} is too slow: {got} bytes moved within {} s", .after.as_secs())]
    Slow { host: String, got: u64, after: Duration },
    #[error("{host} wants to know who asks for {what}: log in with: knaller login {registry}{}", words(.said))]
    Login {
        host: String,
        registry: String,
        what: String,
        said: String,
    },
    #[error("{host} does not let this user at {what}: its name or password are wrong, or it has no right to it. Log in anew with: knaller login {registry}{}", words(.said))]
    Denied {
        host: String,
        registry: String,
        what: String,
        said: String,
    },
    #[error("{host} does not have {what}{}", words(.said))]
    NotFound {
        host: String,
        what: String,
        said: String,
    },
    #[error("{host} has had too many requests from here{}{}", pause(.wait), words(.said))]
    RateLimited {
        host: String,
        /// For how long it asked to be left alone.
        wait: Option<Duration>,
        said: String,
    },
    #[error("{host} has had too many requests from here without a user{}. One who is logged in may ask more often: knaller login {registry}{}", pause(.wait), words(.said))]
    AnonymousRateLimited {
        host: String,
        registry: String,
        wait: Option<Duration>,
        said: String,
    },
    #[error("{host} answered {status} to the request for {what}{}", words(.said))]
    Status {
        host: String,
        what: String,
        status: u16,
        said: String,
    },
    #[error("{host} is no registry as the specification has it: {text}")]
    Protocol { host: String, text: String },
    #[error("{host} leads to {target} without TLS: that is not followed")]
    Downgrade { host: String, target: String },
    #[error("{host} sent what is not {expected}: its digest is {found}. Nothing of it is kept")]
    Mismatch {
        host: String,
        expected: Digest,
        found: Digest,
    },
    #[error(
        "{host} sent {digest} of another size than the {expected} bytes it should have. Nothing of it is kept"
    )]
    Size {
        host: String,
        digest: Digest,
        expected: u64,
    },
    #[error("{host}: the image cannot be used")]
    Manifest { host: String, source: ManifestError },
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error("{digest} cannot be kept")]
    Keep { digest: Digest, source: SinkError },
    #[error("nobody is there to ask for the image")]
    NoPlace,
    #[error("{digest} cannot be read")]
    Read { digest: Digest, source: SinkError },
    #[error("{host} does not know this user with this password{}. Nothing is stored", words(.said))]
    Refused { host: String, said: String },
    #[error("{registry:?} names no registry: {text}")]
    Name { registry: String, text: String },
    #[error("an image is pushed to a tag, and {0} names none")]
    NoTag(String),
}

impl RegistryError {
    /// What to do about it, where the text does not say it already: a sentence without its full stop.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable(unreached) => unreached.hint(),
            _ => None,
        }
    }
}

fn words(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(" (it said: {said})")
    }
}

fn pause(wait: &Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| {
        format!(", and wants to be left alone for {} s", wait.as_secs())
    })
}
