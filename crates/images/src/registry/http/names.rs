//! Addresses of names, as the system knows them.
//!
//! The same question that reqwest's own resolver asks, with a failure that tells which name it was of.

use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
#[error("no address is known for {name}")]
pub(crate) struct NoAddress {
    pub(crate) name: String,
    source: io::Error,
}

impl NoAddress {
    /// What the system says of it, without the name of the call.
    pub(crate) fn said(&self) -> String {
        let text = self.source.to_string();
        let known = text.strip_prefix("failed to lookup address information: ");
        known.unwrap_or(&text).to_owned()
    }
}

pub(super) struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map_err(|source| NoAddress {
                name: name.as_str().to_owned(),
                source,
            })?;
            let addresses: Addrs = Box::new(found.collect::<Vec<_>>().into_iter());
            Ok(addresses)
        })
    }
}
