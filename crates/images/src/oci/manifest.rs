//! Manifests: which contents an image is made of, and indexes: which images there are for which machine.
//!
//! The invariant: a [`Manifest`] describes one image of at most [`MAX_LAYERS`] plain layers, and no document is taken for two
//! things: one that could be read as a manifest and as an index is refused (CVE-2021-41190). Format: OCI image specification,
//! `manifest.md` and `image-index.md`; Docker's `manifest-v2-2.md`.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::descriptor::Descriptor;
use super::digest::Digest;
use super::lenient::or_default;
use super::media_type::{self, Kind, LayerTypeError};

/// The largest manifest or index, in bytes: what registries take.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// More layers than any engine can mount.
pub const MAX_LAYERS: usize = 512;
/// Entries of an index.
pub const MAX_ENTRIES: usize = 4096;

/// Why a document describes no image.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest has {size} bytes: more than the {MAX_MANIFEST} allowed")]
    TooLarge { size: u64 },
    #[error("the manifest is no JSON of the right form")]
    Json(#[source] serde_json::Error),
    #[error("the manifest reads as that of one image and as an index of several: it is not trusted")]
    Ambiguous,
    #[error("the manifest's media type is {inside:?}, and it came as {outside:?}: it is not trusted")]
    Contradiction { inside: String, outside: String },
    #[error(
        "the image is in Docker's format of before 2016 (schema 1): pull and push it again with a newer Docker, or use a newer image"
    )]
    Schema1,
    #[error("the manifest's form is {0}, and 2 is the only one known")]
    Schema(i64),
    #[error("the manifest is of a kind that is not known: {0:?}")]
    Kind(String),
    #[error("this is no image but an artefact of type {0:?}: nothing in it can be booted")]
    Artefact(String),
    #[error("the manifest lacks {0:?}")]
    Lacks(&'static str),
    #[error("the image has {0} layers: more than the {MAX_LAYERS} allowed")]
    TooManyLayers(usize),
    #[error("the index has {0} entries: more than the {MAX_ENTRIES} allowed")]
    TooManyEntries(usize),
    #[error("layer {number} ({digest}) is not taken")]
    Layer {
        /// From 1 on.
        number: usize,
        digest: Digest,
        source: LayerTypeError,
    },
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    pub media_type: String,
    pub config: Descriptor,
    /// The lowest first.
    pub layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Several images, or other indexes, or artefacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a digest or a tag stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    media_type: String,
    #[serde(default, deserialize_with = "or_default")]
    artifact_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Of an image in the OCI's form.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type::MANIFEST.to_owned(),
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }

    /// Bytes of all layers, as they are stored.
    pub(crate) fn packed_size(&self) -> u64 {
        let sizes = self.layers.iter().map(|layer| layer.size);
        sizes.fold(0, u64::saturating_add)
    }
}

impl Index {
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media_type::INDEX.to_owned(),
            manifests,
            annotations: BTreeMap::new(),
        }
    }
}

impl Document {
    /// Reads a document that came with the media type `outside`: that of the descriptor or of the registry's answer; empty
    /// where neither says one.
    ///
    /// # Errors
    /// It is none, or describes nothing that could be booted.
    pub fn parse(bytes: &[u8], outside: &str) -> Result<Self, ManifestError> {
        let size = bytes.len() as u64;
        if size > MAX_MANIFEST {
            return Err(ManifestError::TooLarge { size });
        }
        let mut raw: Raw = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        let is_manifest = raw.config.is_some() || raw.layers.is_some();
        if is_manifest && raw.manifests.is_some() {
            return Err(ManifestError::Ambiguous);
        }
        if raw.schema_version == Some(1) || (raw.fs_layers.is_some() && !is_manifest) {
            return Err(ManifestError::Schema1);
        }
        match raw.schema_version {
            Some(2) => {}
            Some(version) => return Err(ManifestError::Schema(version)),
            None => return Err(ManifestError::Lacks("schemaVersion")),
        }
        let kind = named_kind(&raw.media_type, outside)?;
        if media_type::kind(&raw.media_type) == Kind::Other && (is_manifest || raw.manifests.is_some()) {
            // The OCI's own documents need not say what they are.
            let usual = if is_manifest {
                media_type::MANIFEST
            } else {
                media_type::INDEX
            };
            let outside = Some(outside).filter(|_| kind != Kind::Other);
            raw.media_type = outside.unwrap_or(usual).to_owned();
        }
        match kind {
            Kind::Schema1 => Err(ManifestError::Schema1),
            Kind::Index if is_manifest => Err(ManifestError::Ambiguous),
            Kind::Manifest if raw.manifests.is_some() => Err(ManifestError::Ambiguous),
            _ if raw.manifests.is_some() => raw.index().map(Self::Index),
            Kind::Index => Err(ManifestError::Lacks("manifests")),
            Kind::Manifest => raw.manifest().map(Self::Manifest),
            Kind::Other if is_manifest => raw.manifest().map(Self::Manifest),
            Kind::Other if !raw.artifact_type.is_empty() => Err(ManifestError::Artefact(raw.artifact_type)),
            Kind::Other => Err(ManifestError::Kind(raw.media_type)),
        }
    }
}

/// The kind that the document and its sender agree on. Either may be silent or use a name that is not known here.
fn named_kind(inside: &str, outside: &str) -> Result<Kind, ManifestError> {
    match (media_type::kind(inside), media_type::kind(outside)) {
        (kind, Kind::Other) | (Kind::Other, kind) => Ok(kind),
        (inside, outside) if inside == outside => Ok(inside),
        _ => Err(ManifestError::Contradiction {
            inside: inside.chars().take(200).collect(),
            outside: outside.chars().take(200).collect(),
        }),
    }
}

impl Raw {
    fn manifest(self) -> Result<Manifest, ManifestError> {
        let config = self.config.ok_or(ManifestError::Lacks("config"))?;
        if !media_type::is_image_config(&config.media_type) {
            // What an artefact is, it says itself, or else its configuration does ("Guidelines for Artifact Usage").
            let named = Some(self.artifact_type).filter(|name| !name.is_empty());
            return Err(ManifestError::Artefact(named.unwrap_or(config.media_type)));
        }
        let layers = self.layers.unwrap_or_default();
        if layers.len() > MAX_LAYERS {
            return Err(ManifestError::TooManyLayers(layers.len()));
        }
        for (index, layer) in layers.iter().enumerate() {
            media_type::check_layer(&layer.media_type).map_err(|source| ManifestError::Layer {
                number: index.saturating_add(1),
                digest: layer.digest.clone(),
                source,
            })?;
        }
        Ok(Manifest {
            schema_version: 2,
            media_type: self.media_type,
            config,
            layers,
            annotations: self.annotations,
        })
    }

    fn index(self) -> Result<Index, ManifestError> {
        let manifests = self.manifests.unwrap_or_default();
        if manifests.len() > MAX_ENTRIES {
            return Err(ManifestError::TooManyEntries(manifests.len()));
        }
        Ok(Index {
            schema_version: 2,
            media_type: self.media_type,
            manifests,
            annotations: self.annotations,
        })
    }
}

#[cfg(test)]
mod tests;
