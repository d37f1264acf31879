//! From a reference to the blobs of an image.
//!
//! The invariant: the sink gets a manifest only after everything that it names. What is fetched by a digest has that digest;
//! what a tag leads to is as its registry (or mirror) says.

mod blob;
mod manifest;
mod sink;
mod writer;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub use sink::{BlobPart, BlobSink, CommitError, SinkError};

use self::writer::Writer;
use super::Registries;
use super::error::RegistryError;
use super::event::{Event, Watcher};
use super::http::Session;
use crate::oci::{Descriptor, Digest, MAX_CONFIG, Manifest, Platform, Reference, Walk};

/// An image whose blobs, manifest included, are all in the sink.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// What the reference led to: the index where there is one, else the manifest. Its digest is what `NAME@DIGEST` names.
    pub named: Descriptor,
    /// Of the platform's image.
    pub descriptor: Descriptor,
    pub manifest: Manifest,
}

impl Registries {
    /// What `reference` leads to now: the digest of an index or a manifest. Fetches nothing else.
    ///
    /// # Errors
    /// No place can say.
    pub async fn resolve(&self, reference: &Reference) -> Result<Digest, RegistryError> {
        let places = self.places(reference).await?;
        let (_, answered) = manifest::from_any(&places, &wanted(reference), None, &|_| ()).await?;
        Ok(answered.descriptor.digest)
    }

    /// Fetches the image `reference` for `platform` into `sink`, the manifest last. `tell` hears of all that happens.
    ///
    /// Dropped, it leaves resumable parts in the sink and nothing else.
    ///
    /// # Errors
    /// No place serves it right, or it cannot be kept.
    pub async fn pull<S: BlobSink>(
        &self,
        reference: &Reference,
        platform: &Platform,
        sink: &Arc<S>,
        tell: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Pulled, RegistryError> {
        let places = self.places(reference).await?;
        let (first, mut answered) = manifest::from_any(&places, &wanted(reference), None, tell).await?;
        let named = answered.descriptor.clone();
        // A mirror that has the tag has the rest; if not, those behind it are asked.
        let places = places.get(first..).unwrap_or_default();
        let mut walk = Walk::new(named.clone(), platform.clone());
        let (descriptor, manifest) = loop {
            if let Some(found) = walk.take(&answered.bytes)? {
                break found;
            }
            // Where there is nothing more to look at, the walk has said so itself.
            let Some(next) = walk.wants() else {
                return Err(RegistryError::NoPlace);
            };
            let (digest, size) = (next.digest.to_string(), Some(next.size));
            (_, answered) = manifest::from_any(places, &digest, size, tell).await?;
        };
        if manifest.config.size > MAX_CONFIG {
            let text = format!("the image's configuration has more than {MAX_CONFIG} bytes");
            let host = reference.registry().to_owned();
            return Err(RegistryError::Protocol { host, text });
        }
        let blobs = blobs_of(&manifest);
        let watcher = Watcher::new(tell, &blobs);
        stream::iter(&blobs)
            .map(|blob| Box::pin(blob::fetch(places, blob, sink, &watcher)))
            .buffer_unordered(self.configuration().parallel.max(1))
            .try_collect::<()>()
            .await?;
        keep(sink, &descriptor, answered.bytes).await?;
        Ok(Pulled {
            named,
            descriptor,
            manifest,
        })
    }

    /// Where to ask for an image: the mirrors of its registry, then the registry itself.
    async fn places(&self, reference: &Reference) -> Result<Vec<Session>, RegistryError> {
        let (registry, repository) = (reference.registry(), reference.repository());
        let mirrors = self.configuration().hosts.of(registry).mirrors;
        let mut names: Vec<_> = mirrors
            .into_iter()
            .map(|mirror| (mirror.repository(repository), mirror.host))
            .collect();
        names.push((repository.to_owned(), registry.to_owned()));
        let mut places = Vec::with_capacity(names.len());
        for (repository, host) in names {
            let scopes = vec![format!("repository:{repository}:pull")];
            places.push(Session::new(Arc::clone(self.transport()), &host, &repository, scopes).await?);
        }
        Ok(places)
    }
}

/// What of a repository is meant: a digest decides.
fn wanted(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

/// Configuration and layers, each content once.
fn blobs_of(manifest: &Manifest) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    let all = std::iter::once(&manifest.config).chain(&manifest.layers);
    all.filter(|blob| seen.insert(blob.digest.clone()))
        .cloned()
        .collect()
}

/// Puts a manifest into the sink.
async fn keep<S: BlobSink>(
    sink: &Arc<S>,
    descriptor: &Descriptor,
    bytes: Vec<u8>,
) -> Result<(), RegistryError> {
    let failed = |source| RegistryError::Keep {
        digest: descriptor.digest.clone(),
        source,
    };
    let Some(mut writer) = Writer::open(sink, descriptor).await.map_err(failed)? else {
        return Ok(());
    };
    writer.restart().await.map_err(failed)?;
    writer.write(Bytes::from(bytes)).await.map_err(failed)?;
    match writer.commit().await {
        Ok(()) => Ok(()),
        Err(CommitError::Failed(error)) => Err(failed(error)),
        // It was digested as it came.
        Err(CommitError::Mismatch(found)) => Err(failed(format!("it was written as {found}").into())),
    }
}
