//! One image, read and checked, and how it is found.

use super::{Store, StoreError};
use crate::oci::{
    Descriptor, Digest, ImageConfig, MAX_CONFIG, MAX_MANIFEST, Manifest, Platform, Reference, Walk, WalkError,
};

/// Shorter than this, a beginning of an id is not taken for one.
const SHORTEST: usize = 4;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Of the manifest: the image's id.
    pub digest: Digest,
    /// Of the manifest.
    pub descriptor: Descriptor,
    pub manifest: Manifest,
    pub config: ImageConfig,
    /// What it is called, in order. None where another image took the name over.
    pub names: Vec<Reference>,
}

impl Image {
    /// Its first name as people write it, else its id.
    #[must_use]
    pub fn display_name(&self) -> String {
        match self.names.first() {
            Some(name) => name.familiar(),
            None => self.digest.short().to_owned(),
        }
    }

    /// All blobs it is made of, each once.
    #[must_use]
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut blobs: Vec<&Descriptor> = Vec::new();
        for blob in [&self.descriptor, &self.manifest.config]
            .into_iter()
            .chain(&self.manifest.layers)
        {
            if blobs.iter().all(|other| other.digest != blob.digest) {
                blobs.push(blob);
            }
        }
        blobs
    }
}

impl Store {
    /// Reads the image whose manifest is `descriptor`, whether it is entered or not. An index stands for this machine's image.
    ///
    /// # Errors
    /// Its manifest or configuration is missing, damaged, or of no image.
    pub fn load(&self, descriptor: &Descriptor) -> Result<Image, StoreError> {
        let mut walk = Walk::new(descriptor.clone(), Platform::host());
        let (found, manifest) = loop {
            let wanted = walk.wants().cloned().ok_or(WalkError::Endless)?;
            if let Some(found) = walk.take(&self.read_blob(&wanted, MAX_MANIFEST)?)? {
                break found;
            }
        };
        let bytes = self.read_blob(&manifest.config, MAX_CONFIG)?;
        let config = ImageConfig::parse(&bytes).map_err(|source| StoreError::Config {
            digest: manifest.config.digest.clone(),
            source,
        })?;
        // What an index says of it is no part of it.
        let descriptor = Descriptor::new(&manifest.media_type, found.digest, found.size);
        let digest = descriptor.digest.clone();
        if config.diff_ids.len() != manifest.layers.len() {
            return Err(StoreError::Layers {
                digest,
                layers: manifest.layers.len(),
                diff_ids: config.diff_ids.len(),
            });
        }
        Ok(Image {
            digest,
            descriptor,
            manifest,
            config,
            names: Vec::new(),
        })
    }

    /// The image that `what` stands for: a name as Docker completes it, an id (the manifest's digest, or the configuration's as
    /// Docker has it), or at least 4 digits of the beginning of one.
    ///
    /// # Errors
    /// There is none, or there are several, or it is damaged.
    pub fn resolve(&self, what: &str) -> Result<Image, StoreError> {
        let descriptor = self.find(what)?;
        let names = self.index()?.names_of(&descriptor.digest);
        Ok(Image {
            names,
            ..self.load(&descriptor)?
        })
    }

    /// The image of this name, if it is there.
    ///
    /// # Errors
    /// It is damaged.
    pub fn get(&self, name: &Reference) -> Result<Option<Image>, StoreError> {
        match self.find_name(name)? {
            Some(descriptor) => {
                let names = self.index()?.names_of(&descriptor.digest);
                let image = self.load(&descriptor)?;
                Ok(Some(Image { names, ..image }))
            }
            None => Ok(None),
        }
    }

    pub(super) fn find(&self, what: &str) -> Result<Descriptor, StoreError> {
        let name: Result<Reference, _> = what.parse();
        if let Ok(name) = &name
            && let Some(found) = self.find_name(name)?
        {
            return Ok(found);
        }
        let start = what
            .strip_prefix("sha256:")
            .or(what.strip_prefix("sha512:"))
            .unwrap_or(what);
        let is_start = start.len() >= SHORTEST
            && start
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_start {
            // What is wrong with a name says more than that there is none.
            return Err(name.map_or_else(Into::into, |_| StoreError::Unknown(what.to_owned())));
        }
        let mut found: Vec<Descriptor> = Vec::new();
        for image in self.index()?.images() {
            if image.digest.hex().starts_with(start) || self.has_id(image, start) {
                found.push(image.clone());
            }
        }
        match found.as_slice() {
            [] => Err(StoreError::Unknown(what.to_owned())),
            [image] => Ok(image.clone()),
            several => Err(StoreError::Ambiguous {
                what: what.to_owned(),
                ids: several.iter().map(|image| image.digest.to_string()).collect(),
            }),
        }
    }

    /// By its whole name, or by the digest in it, whatever it is called.
    fn find_name(&self, name: &Reference) -> Result<Option<Descriptor>, StoreError> {
        let index = self.index()?;
        if let Some(found) = index.get(name) {
            return Ok(Some(found.clone()));
        }
        let of_digest = |digest: &Digest| {
            index
                .images()
                .into_iter()
                .find(|image| image.digest == *digest)
                .cloned()
        };
        Ok(name.digest().and_then(of_digest))
    }

    /// Whether the image's configuration has a digest that begins so.
    fn has_id(&self, descriptor: &Descriptor, start: &str) -> bool {
        let image = self.load(descriptor);
        image.is_ok_and(|image| image.manifest.config.digest.hex().starts_with(start))
    }
}
