//! From what a name stands for to the one image that is meant, through indexes and indexes of indexes.
//!
//! The invariant: a walk ends, whatever the documents say: it never asks for one digest twice, nor for more than
//! [`MAX_DOCUMENTS`], nor goes deeper than [`MAX_DEPTH`]. It does no I/O: the caller reads the documents from wherever they
//! are, and checks their digests.

use std::collections::HashSet;

use super::descriptor::Descriptor;
use super::digest::Digest;
use super::manifest::{Document, Manifest, ManifestError};
use super::platform::Platform;
use super::select::{NoPlatform, candidates, platforms};

/// Indexes within indexes; programs write one level, and two where a layout holds an index.
const MAX_DEPTH: usize = 4;
const MAX_DOCUMENTS: usize = 32;

/// Why a walk leads to no image.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    #[error("{digest} cannot be used")]
    Manifest { digest: Digest, source: ManifestError },
    #[error(transparent)]
    NoPlatform(#[from] NoPlatform),
    #[error(
        "the index leads through more than {MAX_DEPTH} others or {MAX_DOCUMENTS} documents, or back to itself"
    )]
    Endless,
}

/// The way from one document to an image for one platform.
#[derive(Debug)]
pub struct Walk {
    wanted: Platform,
    /// What is to be looked at, the next last, with how many indexes led to it.
    pending: Vec<(Descriptor, usize)>,
    seen: HashSet<Digest>,
    /// Of all indexes that were read.
    available: Vec<Platform>,
}

impl Walk {
    #[must_use]
    pub fn new(start: Descriptor, wanted: Platform) -> Self {
        Self {
            wanted,
            pending: vec![(start, 0)],
            seen: HashSet::new(),
            available: Vec::new(),
        }
    }

    /// The document that has to be read next. `None`: there is no image for the platform.
    #[must_use]
    pub fn wants(&self) -> Option<&Descriptor> {
        self.pending.last().map(|(descriptor, _)| descriptor)
    }

    /// Takes the document that was wanted; `Some` when it is the image's manifest.
    ///
    /// # Errors
    /// It is no document that leads to an image, or there is none for the platform.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<(Descriptor, Manifest)>, WalkError> {
        let (descriptor, depth) = self.pending.pop().ok_or(WalkError::Endless)?;
        let document = Document::parse(bytes, &descriptor.media_type);
        let document = document.map_err(|source| WalkError::Manifest {
            digest: descriptor.digest.clone(),
            source,
        })?;
        let index = match document {
            Document::Manifest(manifest) => return Ok(Some((descriptor, manifest))),
            Document::Index(index) => index,
        };
        self.seen.insert(descriptor.digest);
        for platform in platforms(&index) {
            if !self.available.contains(&platform) {
                self.available.push(platform);
            }
        }
        let next = candidates(&index, &self.wanted);
        if next.is_empty() && self.pending.is_empty() {
            return Err(self.nothing().into());
        }
        // The best is looked at first.
        for entry in next.into_iter().rev() {
            let known = self.seen.contains(&entry.digest)
                || self
                    .pending
                    .iter()
                    .any(|(pending, _)| pending.digest == entry.digest);
            if known || depth >= MAX_DEPTH || self.seen.len() + self.pending.len() >= MAX_DOCUMENTS {
                return Err(WalkError::Endless);
            }
            self.pending.push((entry.clone(), depth + 1));
        }
        Ok(None)
    }

    fn nothing(&self) -> NoPlatform {
        NoPlatform {
            wanted: self.wanted.clone(),
            available: self.available.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::manifest::Index;
    use super::super::media_type::{CONFIG, INDEX, MANIFEST};
    use super::*;

    /// Documents by their digests, as a registry has them.
    #[derive(Default)]
    struct Documents(HashMap<Digest, Vec<u8>>);

    impl Documents {
        fn add(&mut self, media_type: &str, document: &impl serde::Serialize) -> Descriptor {
            let bytes = serde_json::to_vec(document).unwrap();
            let descriptor = Descriptor::of(media_type, &bytes);
            self.0.insert(descriptor.digest.clone(), bytes);
            descriptor
        }

        fn image(&mut self, name: &str, platform: Option<&str>) -> Descriptor {
            let manifest = Manifest::new(Descriptor::of(CONFIG, name.as_bytes()), Vec::new());
            let mut descriptor = self.add(MANIFEST, &manifest);
            descriptor.platform = platform.map(|platform| platform.parse().unwrap());
            descriptor
        }

        fn walk(&self, start: Descriptor, wanted: &str) -> Result<Digest, WalkError> {
            let mut walk = Walk::new(start, wanted.parse().unwrap());
            loop {
                let wanted = walk.wants().unwrap().digest.clone();
                if let Some((found, _)) = walk.take(&self.0[&wanted])? {
                    return Ok(found.digest);
                }
            }
        }
    }

    #[test]
    fn through_indexes_to_the_image() {
        let mut documents = Documents::default();
        let arm = documents.image("arm", Some("arm64"));
        let amd = documents.image("amd", Some("amd64"));
        let only_arm = documents.add(INDEX, &Index::new(vec![arm.clone()]));
        let inner = documents.add(INDEX, &Index::new(vec![arm.clone(), amd.clone()]));
        let outer = documents.add(INDEX, &Index::new(vec![only_arm, inner]));
        assert_eq!(documents.walk(outer.clone(), "amd64").unwrap(), amd.digest);
        assert_eq!(documents.walk(outer.clone(), "arm64").unwrap(), arm.digest);
        assert_eq!(documents.walk(amd.clone(), "arm64").unwrap(), amd.digest);
        let error = documents.walk(outer, "riscv64").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no image for linux/riscv64, only for linux/arm64, linux/amd64"
        );
    }

    #[test]
    fn an_entry_that_stands_twice_is_one() {
        let mut documents = Documents::default();
        let image = documents.image("x", Some("amd64"));
        let start = documents.add(INDEX, &Index::new(vec![image.clone(), image.clone()]));
        assert_eq!(documents.walk(start, "amd64").unwrap(), image.digest);
    }

    #[test]
    fn a_circle_ends() {
        // Two that lead to each other: no digest can, so a sender that does not keep to digests.
        let mut documents = Documents::default();
        let there = Descriptor::of(INDEX, b"there");
        let back = Descriptor::of(INDEX, b"back");
        for (from, to) in [(&there, &back), (&back, &there)] {
            let bytes = serde_json::to_vec(&Index::new(vec![to.clone()])).unwrap();
            documents.0.insert(from.digest.clone(), bytes);
        }
        assert!(matches!(documents.walk(there, "amd64"), Err(WalkError::Endless)));
    }

    #[test]
    fn a_chain_and_a_crowd_end() {
        let mut documents = Documents::default();
        let mut chain = documents.image("x", None);
        for _ in 0..6 {
            chain = documents.add(INDEX, &Index::new(vec![chain]));
        }
        assert!(matches!(documents.walk(chain, "amd64"), Err(WalkError::Endless)));
        let crowd: Vec<Descriptor> = (0..100u8)
            .map(|number| Descriptor::of(INDEX, &[number]))
            .collect();
        let crowd = documents.add(INDEX, &Index::new(crowd));
        assert!(matches!(documents.walk(crowd, "amd64"), Err(WalkError::Endless)));
    }
}
