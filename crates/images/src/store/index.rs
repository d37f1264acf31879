//! `index.json`: which images there are, and what they are called.
//!
//! The invariant: a name stands once. An image that loses its last name without being removed stays, without one, until
//! somebody prunes: a VM may use it. One that was removed while others were adding, so that nothing could be collected, is
//! marked, and is no image any more to anybody but the collector.

use std::collections::BTreeMap;

use super::{BLOBS, INDEX, Store, StoreError};
use crate::files::{Lock, LockKind, StageError, read, replace, sync_folder};
use crate::oci::{
    Algorithm, Descriptor, Digest, Document, Index, MAX_ENTRIES, MAX_MANIFEST, REF_NAME, Reference,
};
use crate::task::Task;

const LOCK: &str = "index.lock";
/// The annotation of an image that is to be collected.
const REMOVED: &str = "pitwall.removed";

/// One line of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    manifest: Descriptor,
    name: Option<Reference>,
    removed: bool,
}

/// What `index.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names(Vec<Entry>);

impl Names {
    /// All images, each once, in the order in which they came.
    pub(super) fn images(&self) -> Vec<&Descriptor> {
        let mut images: Vec<&Descriptor> = Vec::new();
        for entry in self.0.iter().filter(|entry| !entry.removed) {
            if images.iter().all(|image| image.digest != entry.manifest.digest) {
                images.push(&entry.manifest);
            }
        }
        images
    }

    pub(super) fn removed(&self) -> impl Iterator<Item = &Descriptor> {
        self.0
            .iter()
            .filter(|entry| entry.removed)
            .map(|entry| &entry.manifest)
    }

    /// What an image is called, in order.
    pub(super) fn names_of(&self, digest: &Digest) -> Vec<Reference> {
        let of_it = self.0.iter().filter(|entry| entry.manifest.digest == *digest);
        let mut names: Vec<Reference> = of_it.filter_map(|entry| entry.name.clone()).collect();
        names.sort();
        names
    }

    pub(super) fn get(&self, name: &Reference) -> Option<&Descriptor> {
        let name = name.stored();
        let named = self.0.iter().find(|entry| entry.name.as_ref() == Some(&name));
        named.map(|entry| &entry.manifest)
    }

    /// Gives the image a name, which no other keeps.
    pub(super) fn set(&mut self, name: &Reference, manifest: &Descriptor) {
        let name = name.stored();
        self.unset(&name);
        self.0
            .retain(|entry| entry.name.is_some() || entry.manifest.digest != manifest.digest);
        self.push(manifest, Some(name));
    }

    /// Takes a name away; an image that has no other stays without one.
    pub(super) fn unset(&mut self, name: &Reference) {
        let name = name.stored();
        let is_it = |entry: &Entry| entry.name.as_ref() == Some(&name);
        let Some(entry) = self.0.iter().find(|entry| is_it(entry)).cloned() else {
            return;
        };
        self.0.retain(|entry| !is_it(entry));
        self.keep(&entry.manifest);
    }

    /// Enters an image without a name, if it is not there.
    pub(super) fn keep(&mut self, manifest: &Descriptor) {
        self.0
            .retain(|entry| !(entry.removed && entry.manifest.digest == manifest.digest));
        if self
            .0
            .iter()
            .all(|entry| entry.manifest.digest != manifest.digest)
        {
            self.push(manifest, None);
        }
    }

    /// Takes an image out with all its names.
    pub(super) fn forget(&mut self, digest: &Digest) {
        self.0.retain(|entry| entry.manifest.digest != *digest);
    }

    /// Takes an image out with all its names, and leaves its blobs to a later collecting.
    pub(super) fn mark_removed(&mut self, manifest: &Descriptor) {
        self.forget(&manifest.digest);
        self.push(manifest, None);
        if let Some(entry) = self.0.last_mut() {
            entry.removed = true;
        }
    }

    fn push(&mut self, manifest: &Descriptor, name: Option<Reference>) {
        let mut manifest = manifest.clone();
        manifest.annotations = BTreeMap::new();
        self.0.push(Entry {
            manifest,
            name,
            removed: false,
        });
    }

    fn from_index(index: Index) -> Self {
        let entries = index.manifests.into_iter().map(|mut manifest| {
            let annotations = std::mem::take(&mut manifest.annotations);
            // A short name was put there by another program.
            let name = annotations.get(REF_NAME);
            let name = name.and_then(|text| {
                text.parse()
                    .ok()
                    .filter(|name: &Reference| name.to_string() == **text)
            });
            Entry {
                manifest,
                name,
                removed: annotations.contains_key(REMOVED),
            }
        });
        Self(entries.collect())
    }

    fn to_index(&self) -> Index {
        let entries = self.0.iter().map(|entry| {
            let mut manifest = entry.manifest.clone();
            if let Some(name) = &entry.name {
                manifest.annotations.insert(REF_NAME.to_owned(), name.to_string());
            }
            if entry.removed {
                manifest.annotations.insert(REMOVED.to_owned(), "true".to_owned());
            }
            manifest
        });
        Index::new(entries.collect())
    }
}

impl Store {
    /// Whether there is an image with this manifest.
    pub(super) fn has_entered(&self, manifest: &Digest) -> Result<bool, StoreError> {
        let index = self.index()?;
        Ok(index.images().iter().any(|image| image.digest == *manifest))
    }

    pub(super) fn index(&self) -> Result<Names, StoreError> {
        let path = self.root.join(INDEX);
        let bytes = match read(&path, MAX_MANIFEST) {
            Err(error) if error.is_absence() => return Ok(Names::default()),
            bytes => bytes?,
        };
        match Document::parse(&bytes, crate::oci::media_type::INDEX) {
            Ok(Document::Index(index)) => Ok(Names::from_index(index)),
            Ok(Document::Manifest(_)) => Err(StoreError::Layout { path, source: None }),
            Err(source) => Err(StoreError::Layout {
                path,
                source: Some(source),
            }),
        }
    }

    /// Changes the index in one step. What it then refers to is on the disk before it is.
    pub(super) fn update_index(&self, change: impl FnOnce(&mut Names)) -> Result<(), StoreError> {
        // Held for as long as it takes to write one small file.
        let _lock = Lock::wait(&self.root.join(LOCK), LockKind::Exclusive, &Task::new())?;
        let before = self.index()?;
        let mut after = before.clone();
        change(&mut after);
        if after == before && self.root.join(INDEX).exists() {
            return Ok(());
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = self.root.join(BLOBS).join(algorithm.as_str());
            sync_folder(&folder).map_err(|source| StageError::new(&folder, 0, source))?;
        }
        let path = self.root.join(INDEX);
        let bytes = serde_json::to_vec(&after.to_index());
        let bytes = bytes.map_err(|error| StageError::new(&path, 0, error.into()))?;
        // What is written must be read again.
        if after.0.len() > MAX_ENTRIES || bytes.len() as u64 > MAX_MANIFEST {
            return Err(StoreError::TooManyNames);
        }
        Ok(replace(&self.root, INDEX, &bytes)?)
    }
}
