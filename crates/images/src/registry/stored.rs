//! Between registries and the store of images.
//!
//! The invariant: an image has its name in the store only once it is there whole and its check is passed. While it
//! comes or goes nothing is removed from the store. Whatever of a broken pull is whole, and the beginnings of the rest,
//! stay for the next one.

use std::io::{Read, Seek as _, SeekFrom};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::error::RegistryError;
use super::event::Event;
use super::pull::{BlobPart, BlobSink, CommitError, SinkError};
use super::push::{BlobSource, Outgoing};
use super::{Pulled, Registries};
use crate::import::CheckError;
use crate::oci::{Descriptor, Digest, MAX_MANIFEST, Platform, Reference};
use crate::store::{Adding, BlobWriter, Image, Store, StoreError};
use crate::task::Task;

/// Why an image did not come into the store, or out of it.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the image is refused")]
    Refused(#[source] CheckError),
}

impl Registries {
    /// Fetches the image `reference` for `platform` into `store` and enters it under that name. `check` sees it before:
    /// [`verify`](crate::import::verify), or whoever makes the root file system of it and so checks the same; it may block.
    ///
    /// Dropped, it enters nothing.
    ///
    /// # Errors
    /// No place serves the image right, it is for another platform, `check` refuses it, or the store cannot be written.
    pub async fn pull_into(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
        check: impl FnOnce(&Adding, &Image) -> Result<(), CheckError> + Send + 'static,
        tell: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Image, TransferError> {
        let hold = hold(store).await?;
        let pulled = Box::pin(self.pull(reference, platform, &hold.blobs, tell)).await?;
        let (blobs, name, platform) = (Arc::clone(&hold.blobs), reference.clone(), platform.clone());
        let check = move |adding: &Adding, image: &Image| {
            // Without an index the image alone says what it is for.
            let fits = image.config.check_platform(&platform);
            fits.map_err(|error| RegistryError::Walk(error.into()))?;
            check(adding, image).map_err(TransferError::Refused)
        };
        blocking(move || enter(&blobs.adding, &pulled, name, check)).await
    }

    /// Sends an image of the store to the tag that `reference` names. The answer is the digest that the tag now leads to.
    ///
    /// # Errors
    /// The registry does not take it, or the store is damaged.
    pub async fn push_from(
        &self,
        store: &Store,
        image: &Image,
        reference: &Reference,
        tell: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Digest, TransferError> {
        let hold = hold(store).await?;
        let (blobs, descriptor) = (Arc::clone(&hold.blobs), image.descriptor.clone());
        let manifest = blocking(move || blobs.adding.store().read_blob(&descriptor, MAX_MANIFEST)).await?;
        let same = |name: &&Reference| name.registry() == reference.registry();
        let outgoing = Outgoing {
            blobs: image
                .blobs()
                .into_iter()
                .filter(|blob| blob.digest != image.digest)
                .cloned()
                .collect(),
            manifests: vec![(image.descriptor.clone(), manifest)],
            origins: image
                .names
                .iter()
                .filter(same)
                .map(|name| name.repository().to_owned())
                .collect(),
        };
        Ok(Box::pin(self.push(reference, &outgoing, &hold.blobs, tell)).await?)
    }
}

fn enter(
    adding: &Adding,
    pulled: &Pulled,
    name: Reference,
    check: impl FnOnce(&Adding, &Image) -> Result<(), TransferError>,
) -> Result<Image, TransferError> {
    adding.enter(&pulled.descriptor, &[name], |image| check(adding, image))
}

/// A hold on the store; its threads are told when nobody waits for them any more.
struct Hold {
    blobs: Arc<Blobs>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.blobs.task.cancel();
    }
}

/// The store's blobs, for as long as they come and go.
struct Blobs {
    adding: Adding,
    task: Task,
}

async fn hold(store: &Store) -> Result<Hold, StoreError> {
    let store = store.clone();
    blocking(move || {
        let task = Task::new();
        let adding = store.adding(&task)?;
        let blobs = Arc::new(Blobs { adding, task });
        Ok(Hold { blobs })
    })
    .await
}

/// What is done on a thread that may block; its panic is the caller's.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

impl BlobSink for Blobs {
    type Part = BlobWriter;

    fn open(&self, blob: &Descriptor) -> Result<Option<BlobWriter>, SinkError> {
        let mut writer = self.adding.blob(&blob.digest, Some(blob.size), &self.task)?;
        if let Some(writer) = &mut writer {
            writer.keep();
        }
        Ok(writer)
    }
}

impl BlobPart for BlobWriter {
    fn offset(&self) -> u64 {
        Self::offset(self)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        Ok(self.add(bytes)?)
    }

    fn restart(&mut self) -> Result<(), SinkError> {
        Ok(Self::restart(self)?)
    }

    fn commit(self) -> Result<(), CommitError> {
        match Self::commit(self) {
            Ok(_) => Ok(()),
            Err(StoreError::Mismatch { found, .. }) => Err(CommitError::Mismatch(found)),
            Err(error) => Err(CommitError::Failed(error.into())),
        }
    }
}

impl BlobSource for Blobs {
    fn open(&self, blob: &Descriptor, from: u64) -> Result<Box<dyn Read + Send>, SinkError> {
        let mut file = self.adding.store().open_blob(blob)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }
}
