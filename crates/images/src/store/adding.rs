//! Who adds to the store.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::image::Image;
use super::{Store, StoreError};
use crate::files::{Lock, LockKind};
use crate::layer;
use crate::oci::{Descriptor, Digest, Reference};
use crate::task::Task;

const LOCK: &str = "lock";

/// A hold on the store: while it lives, nothing is removed from it. Whoever adds has one, and whoever starts to use an image,
/// until it can be seen that he does.
#[derive(Debug)]
pub struct Adding {
    pub(super) store: Store,
    /// Layers that no stranger has packed.
    packed: Mutex<BTreeSet<Digest>>,
    _lock: Lock,
}

impl Store {
    /// Takes a hold on the store. Waits while somebody removes, which takes no longer than removing files does. What crashed
    /// programs left is removed first.
    ///
    /// # Errors
    /// `task` is called off, or the store cannot be written.
    pub fn adding(&self, task: &Task) -> Result<Adding, StoreError> {
        let lock = Lock::wait(&self.root.join(LOCK), LockKind::Shared, task)?;
        self.clean()?;
        Ok(Adding {
            store: self.clone(),
            packed: Mutex::default(),
            _lock: lock,
        })
    }

    /// Keeps others from adding and removing, if nobody does just now.
    pub(super) fn removing(&self) -> Result<Option<Lock>, StoreError> {
        Ok(Lock::try_take(&self.root.join(LOCK), LockKind::Exclusive)?)
    }
}

impl Adding {
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The limits on the unpacking of a layer of `image`: `limits`, but any ratio for what no stranger has packed, and for what
    /// was looked at when its image was entered.
    pub(crate) fn limits_on(
        &self,
        image: &Image,
        layer: &Descriptor,
        limits: &layer::Limits,
    ) -> Result<layer::Limits, StoreError> {
        let packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = limits.clone();
        Ok(
            if packed.contains(&layer.digest) || self.store.has_entered(&image.digest)? {
                limits.of_any_ratio()
            } else {
                limits
            },
        )
    }

    /// Notes layers that were packed here, or are of an image that was looked at.
    pub(crate) fn note_packed(&self, layers: &[Descriptor]) {
        let digests = layers.iter().map(|layer| layer.digest.clone());
        self.packed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(digests);
    }

    /// Enters an image whose blobs are all there, under `names` and without one if there are none. `check` sees it first: an
    /// image that it refuses is not entered, and its blobs go with the next collecting.
    ///
    /// # Errors
    /// Something of it is missing or does not belong together, `check` refuses it, or the index cannot be written.
    pub fn enter<E: From<StoreError>>(
        &self,
        manifest: &Descriptor,
        names: &[Reference],
        check: impl FnOnce(&Image) -> Result<(), E>,
    ) -> Result<Image, E> {
        let mut image = self.store.load(manifest)?;
        for blob in &image.manifest.layers {
            drop(self.store.open_blob(blob)?);
        }
        check(&image)?;
        self.store.update_index(|index| {
            if names.is_empty() {
                index.keep(manifest);
            }
            for name in names {
                index.set(name, manifest);
            }
        })?;
        image.names = self.store.index()?.names_of(&image.digest);
        tracing::info!(digest = %image.digest, ?names, "entered an image");
        Ok(image)
    }
}
