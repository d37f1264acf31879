//! Images between registries and the store.
//!
//! The invariant: what is pulled is entered into the store only when all of it is there and its root file system is made, so
//! that every layer was read once and is what the image's configuration says. What breaks leaves parts that a later pull goes
//! on with, and nothing else.

mod error;
mod sink;

use std::io::Read;
use std::sync::Arc;

pub use error::TransferError;

use crate::convert::{Limits, RootfsError, root_file_system};
use crate::oci::{Descriptor, Digest, MAX_MANIFEST, Platform, Reference};
use crate::registry::{BlobSource, Event, Outgoing, Registries, SinkError};
use crate::store::{Image, Store, StoreError};
use crate::task::Task;
use sink::Inbox;

/// Fetches an image and makes its root file system. `tell` hears what moves, `task` is told of the rest and calls it off.
///
/// # Errors
/// No registry serves it right, it is no image for `platform`, or it cannot be kept.
pub async fn pull(
    registries: &Registries,
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    tell: &(dyn Fn(Event) + Send + Sync),
    task: &Task,
) -> Result<Image, TransferError> {
    let (store_here, task_here) = (store.clone(), task.clone());
    let adding = blocking(move || store_here.adding(&task_here)).await??;
    let inbox = Arc::new(Inbox {
        adding,
        task: task.clone(),
    });
    // Where this fails, the blobs that are whole stay as well: the next pull finds them.
    let pulled = registries.pull(reference, platform, &inbox, tell).await?;
    let name = reference.stored();
    let entered = blocking(move || enter(&inbox, &pulled.descriptor, name)).await?;
    if entered.is_err() {
        let store = store.clone();
        if let Err(error) = blocking(move || store.collect_if_idle()).await? {
            tracing::warn!(%error, "what was pulled in vain is left to the next command");
        }
    }
    entered
}

fn enter(inbox: &Inbox, manifest: &Descriptor, name: Reference) -> Result<Image, TransferError> {
    let make = |image: &Image| -> Result<(), RootfsError> {
        root_file_system(&inbox.adding, image, &Limits::default(), &inbox.task).map(drop)
    };
    Ok(inbox.adding.enter(manifest, &[name], make)?)
}

/// Sends the image that `what` names to the tag `reference`. The answer is the digest that the tag now leads to.
///
/// # Errors
/// There is no such image, or the registry does not take it.
pub async fn push(
    registries: &Registries,
    store: &Store,
    what: &str,
    reference: &Reference,
    tell: &(dyn Fn(Event) + Send + Sync),
    task: &Task,
) -> Result<Digest, TransferError> {
    let (store_here, what, task) = (store.clone(), what.to_owned(), task.clone());
    let found = blocking(move || -> Result<_, StoreError> {
        let hold = store_here.adding(&task)?;
        let image = store_here.resolve(&what)?;
        let manifest = store_here.read_blob(&image.descriptor, MAX_MANIFEST)?;
        Ok((hold, image, manifest))
    });
    let (_hold, image, manifest) = found.await??;
    let mut blobs: Vec<Descriptor> = image.blobs().into_iter().cloned().collect();
    blobs.retain(|blob| blob.digest != image.digest);
    let elsewhere = image
        .names
        .iter()
        .filter(|name| name.registry() == reference.registry());
    let outgoing = Outgoing {
        blobs,
        manifests: vec![(image.descriptor.clone(), manifest)],
        origins: elsewhere.map(|name| name.repository().to_owned()).collect(),
    };
    let source = Arc::new(Outbox(store.clone()));
    Ok(registries.push(reference, &outgoing, &source, tell).await?)
}

/// The store, read.
struct Outbox(Store);

impl BlobSource for Outbox {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, SinkError> {
        Ok(Box::new(self.0.open_blob(blob)?))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TransferError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| TransferError::Thread(std::io::Error::other(error)))
}
