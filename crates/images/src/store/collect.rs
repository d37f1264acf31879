//! Removing what nothing refers to.
//!
//! The invariant: a file is removed only under the store's exclusive lock, so nobody is adding, and only when no entry of the
//! index leads to it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{BLOBS, ROOTFS, Store, StoreError, rootfs};
use crate::files::{Lock, StageError, Staging};
use crate::oci::{Algorithm, Digest};

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images that were removed with it.
    pub images: Vec<Digest>,
    pub blobs: u64,
    pub rootfs: u64,
    /// What broken downloads and killed programs left.
    pub leftovers: u64,
    /// Bytes of the disk that are free again.
    pub bytes: u64,
}

/// What to remove beside what nothing refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// Also images that have a name, if nobody uses them. Otherwise only those without one.
    pub all: bool,
    /// Only says what would go.
    pub dry_run: bool,
}

impl Store {
    /// Removes images that nobody needs, blobs and root file systems that nothing refers to, and parts of broken downloads.
    /// `None`: somebody is adding to the store just now.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn prune(
        &self,
        what: Prune,
        in_use: impl Fn(&Digest) -> Vec<String>,
    ) -> Result<Option<Collected>, StoreError> {
        let Some(lock) = self.removing()? else {
            return Ok(None);
        };
        let index = self.index()?;
        let mut images: Vec<Digest> = index
            .images()
            .into_iter()
            .map(|image| image.digest.clone())
            .collect();
        images.retain(|image| (what.all || index.names_of(image).is_empty()) && in_use(image).is_empty());
        let dead = self.dead()?;
        let parts: Vec<_> = self.parts()?.filter_map(found).collect();
        if what.dry_run {
            let garbage = Garbage {
                dead,
                parts,
                ..self.garbage(&images)?
            };
            return Ok(Some(garbage.counted(images)));
        }
        self.clean()?;
        self.update_index(|index| images.iter().for_each(|image| index.forget(image)))?;
        let marked = self.take_marked(&in_use)?;
        images.extend(marked);
        let garbage = Garbage {
            dead,
            parts,
            ..self.garbage(&[])?
        };
        garbage.remove(&lock)?;
        Ok(Some(garbage.counted(images)))
    }

    /// Removes what nothing refers to, if nobody is adding. For who added in vain.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn collect_if_idle(&self) -> Result<Option<Collected>, StoreError> {
        match self.removing()? {
            Some(lock) => {
                let garbage = self.garbage(&[])?;
                garbage.remove(&lock)?;
                Ok(Some(garbage.counted(Vec::new())))
            }
            None => Ok(None),
        }
    }

    /// Removes the images that were marked and what nothing refers to.
    pub(super) fn collect(
        &self,
        lock: &Lock,
        in_use: &impl Fn(&Digest) -> Vec<String>,
    ) -> Result<Collected, StoreError> {
        let images = self.take_marked(in_use)?;
        let garbage = self.garbage(&[])?;
        garbage.remove(lock)?;
        Ok(garbage.counted(images))
    }

    /// Takes the images out that were removed while somebody was adding, and that nobody began to use since.
    fn take_marked(&self, in_use: &impl Fn(&Digest) -> Vec<String>) -> Result<Vec<Digest>, StoreError> {
        let index = self.index()?;
        let mut images: Vec<Digest> = index.removed().map(|image| image.digest.clone()).collect();
        images.retain(|image| in_use(image).is_empty());
        self.update_index(|index| images.iter().for_each(|image| index.forget(image)))?;
        Ok(images)
    }

    /// Folders that killed programs left, with what is in them. They go with [`Store::clean`].
    fn dead(&self) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let mut dead = Vec::new();
        for folder in [self.root.clone(), self.root.join(ROOTFS)] {
            dead.extend(Staging::dead(&folder)?.into_iter().map(|path| {
                let within = fs::read_dir(&path).into_iter().flatten().flatten();
                let bytes = within.filter_map(|entry| found(entry.path()));
                let bytes = bytes.map(|(_, bytes)| bytes).sum();
                (path, bytes)
            }));
        }
        Ok(dead)
    }

    /// What nothing would refer to if there were no images `without`.
    fn garbage(&self, without: &[Digest]) -> Result<Garbage, StoreError> {
        let index = self.index()?;
        let (mut blobs, mut roots) = (BTreeSet::new(), BTreeSet::new());
        let images = index.images().into_iter().chain(index.removed());
        for descriptor in images.filter(|image| !without.contains(&image.digest)) {
            blobs.insert(descriptor.digest.clone());
            match self.load(descriptor) {
                Ok(image) => {
                    blobs.extend(image.blobs().into_iter().map(|blob| blob.digest.clone()));
                    roots.insert(image.config.chain_id());
                }
                // It cannot be used, so nothing is lost with its layers; its entry stays until somebody removes it.
                Err(error) => tracing::warn!(digest = %descriptor.digest, %error, "an image is damaged"),
            }
        }
        let mut garbage = Garbage::default();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = format!("{BLOBS}/{}", algorithm.as_str());
            for name in self.names(&folder)? {
                let digest = format!("{}:{name}", algorithm.as_str()).parse::<Digest>();
                if !digest.is_ok_and(|digest| blobs.contains(&digest)) {
                    garbage.blobs.extend(found(self.root.join(&folder).join(name)));
                }
            }
        }
        for name in self.names(ROOTFS)? {
            if rootfs::is_garbage(&name, &roots) {
                garbage.rootfs.extend(found(self.root.join(ROOTFS).join(name)));
            }
        }
        Ok(garbage)
    }
}

/// Files with the bytes they take.
#[derive(Default)]
struct Garbage {
    blobs: Vec<(PathBuf, u64)>,
    rootfs: Vec<(PathBuf, u64)>,
    /// Of broken downloads.
    parts: Vec<(PathBuf, u64)>,
    /// Counted only: see [`Store::dead`].
    dead: Vec<(PathBuf, u64)>,
}

impl Garbage {
    fn all(&self) -> impl Iterator<Item = &(PathBuf, u64)> {
        self.blobs.iter().chain(&self.rootfs).chain(&self.parts)
    }

    /// `_lock` is the store's exclusive one.
    fn remove(&self, _lock: &Lock) -> Result<(), StoreError> {
        for (path, _) in self.all() {
            match fs::remove_file(path) {
                // A killed program's, which is cleaned away at every opportunity.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                removed => removed.map_err(|source| StageError::new(path, 0, source))?,
            }
            tracing::debug!(path = %path.display(), "removed what nothing refers to");
        }
        Ok(())
    }

    fn counted(&self, images: Vec<Digest>) -> Collected {
        let is_disk = |path: &Path| path.extension().is_some_and(|end| end == rootfs::EXTENSION);
        Collected {
            images,
            blobs: self.blobs.len() as u64,
            rootfs: self.rootfs.iter().filter(|(path, _)| is_disk(path)).count() as u64,
            leftovers: self.parts.iter().chain(&self.dead).count() as u64,
            bytes: self.all().chain(&self.dead).map(|(_, bytes)| bytes).sum(),
        }
    }
}

/// A plain file and what it takes of the disk, whose unit is 512 bytes (stat(2)).
fn found(path: PathBuf) -> Option<(PathBuf, u64)> {
    let metadata = path.symlink_metadata().ok()?;
    let bytes = metadata.blocks().saturating_mul(512);
    metadata.is_file().then_some((path, bytes))
}
