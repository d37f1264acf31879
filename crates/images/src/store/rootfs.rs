//! Root file systems made of images' layers.
//!
//! The invariant: one is made by one at a time, whoever wants it, and is there whole or not at all.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use super::{Adding, Image, ROOTFS, Store, StoreError};
use crate::files::{Lock, LockKind, StageError, Staging};
use crate::oci::Digest;
use crate::task::Task;

pub(super) const EXTENSION: &str = "ext4";

/// Counted up when the converter makes another file of the same layers. Files of other forms are removed by the next
/// collecting.
const FORM: u32 = 1;

/// The root file system of an image: a file that is only read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it was made just now.
    pub new: bool,
}

impl Store {
    /// The root file system of an image, if it was made.
    #[must_use]
    pub fn rootfs(&self, image: &Image) -> Option<Rootfs> {
        let path = self.root.join(ROOTFS).join(name(&image.config.chain_id()));
        let metadata = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Rootfs {
            path,
            size: metadata.len(),
            new: false,
        })
    }

    pub(super) fn taken_by_rootfs(&self, chain: &Digest) -> u64 {
        let metadata = self.root.join(ROOTFS).join(name(chain)).symlink_metadata();
        metadata.map_or(0, |metadata| metadata.blocks().saturating_mul(512))
    }
}

impl Adding {
    /// The root file system of an image, which `make` writes into an empty file where it is not there. Waits while another
    /// program makes it.
    ///
    /// # Errors
    /// `make` fails (and nothing is left), `task` is called off, or the disk is full. Where it failed since the disk
    /// changed what was stored, that is removed, and comes anew with the next pull or import.
    pub fn rootfs<E: From<StoreError>>(
        &self,
        image: &Image,
        task: &Task,
        make: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<Rootfs, E> {
        let store = &self.store;
        if let Some(rootfs) = store.rootfs(image) {
            return Ok(rootfs);
        }
        let folder = store.root.join(ROOTFS);
        let name = name(&image.config.chain_id());
        let lock = folder.join(format!("{name}.lock"));
        let lock = Lock::wait(&lock, LockKind::Exclusive, task).map_err(StoreError::from)?;
        let made = self.make_rootfs(&name, image, make);
        let removed = lock.remove();
        let made = made.or_else(|error| {
            store.drop_damaged(image, task)?;
            Err(error)
        })?;
        removed.map_err(|source| StoreError::from(StageError::new(&folder, 0, source)))?;
        Ok(made)
    }

    fn make_rootfs<E: From<StoreError>>(
        &self,
        name: &str,
        image: &Image,
        make: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<Rootfs, E> {
        if let Some(rootfs) = self.store.rootfs(image) {
            return Ok(rootfs);
        }
        let folder = self.store.root.join(ROOTFS);
        let staging = Staging::new(&folder).map_err(StoreError::from)?;
        let path = staging.path().join(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|source| StoreError::from(StageError::new(&path, 0, source)))?;
        make(&file)?;
        drop(file);
        staging.publish_file(name, name).map_err(StoreError::from)?;
        let made = self.store.rootfs(image);
        let made = made.ok_or_else(|| StoreError::Missing {
            digest: image.config.chain_id(),
        })?;
        Ok(Rootfs { new: true, ..made })
    }
}

fn name(chain: &Digest) -> String {
    format!("{}-{FORM}.{EXTENSION}", chain.hex())
}

/// Whether a file of this name belongs to none of the chains.
pub(super) fn is_garbage(file: &str, chains: &BTreeSet<Digest>) -> bool {
    // What is in the making is removed by the next maker if it is nobody's. A lock that is there while nobody adds is one that
    // a crash left.
    !file.starts_with('.') && chains.iter().all(|chain| name(chain) != file)
}
