//! What there is, and what it costs.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::image::Image;
use super::{Store, StoreError};
use crate::oci::Digest;

/// An image with what it takes of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub image: Image,
    pub sizes: Sizes,
}

/// Bytes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Blobs that only this image has: what removing it frees.
    pub blobs_unique: u64,
    /// Blobs that other images have too.
    pub blobs_shared: u64,
    /// The root file system, where it is made and no other image has the same layers.
    pub rootfs_unique: u64,
    /// The root file system, where others have the same layers.
    pub rootfs_shared: u64,
}

impl Sizes {
    /// All that the image needs.
    #[must_use]
    pub fn total(&self) -> u64 {
        [self.unique(), self.blobs_shared, self.rootfs_shared]
            .iter()
            .sum()
    }

    /// What removing the image frees.
    #[must_use]
    pub fn unique(&self) -> u64 {
        self.blobs_unique.saturating_add(self.rootfs_unique)
    }
}

impl Store {
    /// All images, in the order in which they came. What is damaged is left out with a warning in the log.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let index = self.index()?;
        let mut images = Vec::new();
        for descriptor in index.images() {
            match self.load(descriptor) {
                Ok(image) => images.push(Image {
                    names: index.names_of(&descriptor.digest),
                    ..image
                }),
                Err(error) => tracing::warn!(digest = %descriptor.digest, %error, "left out an image"),
            }
        }
        let (mut blobs, mut roots): (BTreeMap<Digest, u32>, BTreeMap<Digest, u32>) = Default::default();
        for image in &images {
            for blob in image.blobs() {
                count(&mut blobs, blob.digest.clone());
            }
            count(&mut roots, image.config.chain_id());
        }
        let listed = images.into_iter().map(|image| {
            let mut sizes = Sizes::default();
            for blob in image.blobs() {
                let bytes = self.taken_by_blob(&blob.digest);
                let place = match blobs.get(&blob.digest) {
                    Some(1) => &mut sizes.blobs_unique,
                    _ => &mut sizes.blobs_shared,
                };
                *place = place.saturating_add(bytes);
            }
            let chain = image.config.chain_id();
            let place = match roots.get(&chain) {
                Some(1) => &mut sizes.rootfs_unique,
                _ => &mut sizes.rootfs_shared,
            };
            *place = self.taken_by_rootfs(&chain);
            Listed { image, sizes }
        });
        Ok(listed.collect())
    }

    fn taken_by_blob(&self, digest: &Digest) -> u64 {
        let metadata = self.blob_path(digest).symlink_metadata();
        metadata.map_or(0, |metadata| metadata.blocks().saturating_mul(512))
    }
}

fn count(counts: &mut BTreeMap<Digest, u32>, digest: Digest) {
    let times = counts.entry(digest).or_default();
    *times = times.saturating_add(1);
}
