//! Sending an image.
//!
//! The invariant: a manifest is sent only after all it names is at the registry, and the tag last of all; so nobody ever pulls
//! half an image. What the registry has is not sent again.

mod blob;
mod outflow;
mod pieces;
mod upload;

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use self::blob::Sending;
use self::pieces::Pieces;
use super::Registries;
use super::error::RegistryError;
use super::event::{Event, Watcher};
use super::http::{Content, Session, expect, persistently};
use super::pull::SinkError;
use crate::oci::{Descriptor, Digest, Reference};

/// Where the blobs of an image are read.
pub trait BlobSource: Send + Sync + 'static {
    /// Opens a blob at its byte number `from`; again for each attempt. May block.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn open(&self, blob: &Descriptor, from: u64) -> Result<Box<dyn Read + Send>, SinkError>;
}

/// An image on its way out.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Configurations and layers of all manifests, each content once.
    pub blobs: Vec<Descriptor>,
    /// The manifests as they are stored, an index after those it names. The last one gets the tag.
    pub manifests: Vec<(Descriptor, Vec<u8>)>,
    /// Other repositories of the same registry that may have some of the blobs already.
    pub origins: Vec<String>,
}

impl Registries {
    /// Sends an image to the tag that `reference` names. `tell` hears of all that happens. The answer is the digest that the
    /// tag now leads to.
    ///
    /// # Errors
    /// The registry does not take it, or a blob cannot be read.
    pub async fn push<S: BlobSource>(
        &self,
        reference: &Reference,
        image: &Outgoing,
        source: &Arc<S>,
        tell: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Digest, RegistryError> {
        let (Some(tag), Some((last, _))) = (reference.tag(), image.manifests.last()) else {
            return Err(RegistryError::NoTag(reference.to_string()));
        };
        let repository = reference.repository();
        let mut scopes = vec![format!("repository:{repository}:pull,push")];
        let origins: Vec<&String> = image
            .origins
            .iter()
            .filter(|origin| *origin != repository)
            .collect();
        scopes.extend(origins.iter().map(|origin| format!("repository:{origin}:pull")));
        let session = Session::new(
            Arc::clone(self.transport()),
            reference.registry(),
            repository,
            scopes,
        )
        .await?;

        let watcher = Watcher::new(tell, &image.blobs);
        let pieces = Pieces::new(self.configuration().piece);
        let send = |blob| {
            let sending = Sending {
                session: &session,
                blob,
                source,
                origin: origins.first().map(|origin| origin.as_str()),
                pieces: &pieces,
                progress: watcher.blob(blob),
            };
            Box::pin(sending.whole())
        };
        stream::iter(&image.blobs)
            .map(send)
            .buffer_unordered(self.configuration().parallel.max(1))
            .try_collect::<()>()
            .await?;
        for (descriptor, bytes) in &image.manifests {
            let name = if descriptor.digest == last.digest {
                tag.to_owned()
            } else {
                descriptor.digest.to_string()
            };
            put_manifest(&session, &name, descriptor, bytes, tell).await?;
        }
        Ok(last.digest.clone())
    }
}

async fn put_manifest(
    session: &Session,
    name: &str,
    descriptor: &Descriptor,
    bytes: &[u8],
    tell: &(dyn Fn(Event) + Send + Sync),
) -> Result<(), RegistryError> {
    let wait = |error: &RegistryError, pause| {
        let why = error.to_string();
        tell(Event::Waiting { why, pause });
    };
    let put = persistently(session.patience(), wait, async || {
        let mut request = session.within(Method::PUT, &format!("manifests/{name}"))?;
        let kind = HeaderValue::from_str(&descriptor.media_type).ok();
        request.headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        request.content = Content::Bytes(Bytes::copy_from_slice(bytes));
        let response = session.send(&request).await?;
        let taken = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        expect(session, response, &taken, &format!("sending the manifest {name}")).await
    });
    Box::pin(put).await.map(drop)
}
