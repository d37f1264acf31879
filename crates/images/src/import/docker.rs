//! `manifest.json` as `docker save` writes it, in the older layout (a folder for each layer) and the newer (blobs by digest).
//!
//! Format: Docker's `image/spec/v1.2.md`, "Combined Image JSON + Filesystem Changeset Format". It has no manifest of the image:
//! one is made of it. The configuration is the same as the OCI's.

use serde::Deserialize;

use super::archive::Contents;
use super::layout::choose;
use super::{Brought, ImportError, Options, check_platform};
use crate::oci::{Descriptor, Digest, MAX_LAYERS, Manifest, Reference, media_type};
use crate::store::Adding;

/// Images of one archive.
const MAX_IMAGES: usize = 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

fn parse(bytes: &[u8]) -> Result<Vec<Entry>, ImportError> {
    let entries: Vec<Entry> = serde_json::from_slice(bytes).map_err(ImportError::DockerManifest)?;
    let layers = entries
        .iter()
        .filter_map(|entry| entry.layers.as_ref())
        .map(Vec::len)
        .max();
    if entries.len() > MAX_IMAGES {
        return Err(ImportError::DockerContent(format!(
            "it has {} images",
            entries.len()
        )));
    }
    if let Some(layers) = layers.filter(|layers| *layers > MAX_LAYERS) {
        return Err(ImportError::DockerContent(format!(
            "an image of it has {layers} layers"
        )));
    }
    Ok(entries)
}

/// The images' names by the digests of their configurations, where the archive names those by their digests.
pub(super) fn names(bytes: &[u8]) -> Result<Vec<(Digest, Vec<Reference>)>, ImportError> {
    let entries = parse(bytes)?;
    let named = entries
        .iter()
        .filter_map(|entry| Some((config_digest(&entry.config)?, entry.names())));
    Ok(named.collect())
}

/// `HEX.json`, `blobs/sha256/HEX`.
fn config_digest(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    let hex = last.strip_suffix(".json").unwrap_or(last);
    format!("sha256:{hex}").parse().ok()
}

impl Entry {
    /// What cannot be a name is left out: nothing could be started by it.
    fn names(&self) -> Vec<Reference> {
        let tags = self.repo_tags.iter().flatten();
        tags.filter_map(|tag| tag.parse().ok()).collect()
    }
}

pub(super) fn bring(
    adding: &Adding,
    bytes: &[u8],
    contents: &Contents,
    options: &Options,
) -> Result<Brought, ImportError> {
    let entries = parse(bytes)?;
    let called: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let mut names: Vec<String> = entry.names().iter().map(Reference::familiar).collect();
            if names.is_empty() {
                names.push(entry.config.trim_end_matches(".json").to_owned());
            }
            names
        })
        .collect();
    let chosen = choose(&called, options.image.as_deref())?;
    let entry = entries.get(chosen).ok_or(ImportError::Empty)?;
    let (digest, size) = contents.find(adding, &entry.config)?;
    if let Some(named) = config_digest(&entry.config).filter(|named| *named != digest) {
        return Err(ImportError::Mismatch {
            name: named.to_string(),
            found: digest,
        });
    }
    let config = Descriptor::new(media_type::CONFIG, digest, size);
    let layers: Result<Vec<Descriptor>, ImportError> = entry
        .layers
        .iter()
        .flatten()
        .map(|name| {
            let (digest, size) = contents.find(adding, name)?;
            let layer = Descriptor::new(media_type::LAYER, digest, size);
            Ok(adding.typed(&layer)?)
        })
        .collect();
    let manifest = Manifest::new(config, layers?);
    check_platform(adding, &manifest, options)?;
    let bytes = serde_json::to_vec(&manifest).map_err(ImportError::DockerManifest)?;
    adding.put(&bytes)?;
    Ok(Brought {
        manifest: Descriptor::of(media_type::MANIFEST, &bytes),
        names: entry.names(),
        notices: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let id = "ab".repeat(32);
        for config in [format!("{id}.json"), format!("blobs/sha256/{id}")] {
            let json = serde_json::json!([{"Config": config, "RepoTags": ["x:1", "-"], "Layers": null, "Parent": "y"}]);
            let names = names(json.to_string().as_bytes()).unwrap();
            assert_eq!(
                names,
                [(
                    format!("sha256:{id}").parse().unwrap(),
                    vec!["x:1".parse().unwrap()]
                )]
            );
        }
        assert!(matches!(parse(b"{}"), Err(ImportError::DockerManifest(_))));
        let many = serde_json::json!([{"Config": "x", "Layers": vec!["y"; 600]}]);
        assert!(matches!(
            parse(many.to_string().as_bytes()),
            Err(ImportError::DockerContent(_))
        ));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = names(&bytes);
        }
    }
}
