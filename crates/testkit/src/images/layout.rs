//! What no tool here writes into an OCI layout: fields that umoci does not know, and indexes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The descriptor of the image under the tag `latest`.
pub(super) fn tagged(layout: &Path) -> Result<Value> {
    let index = json_of(&layout.join("index.json"))?;
    let tag = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == "latest";
    let entries = index["manifests"].as_array();
    let found = entries.and_then(|entries| entries.iter().find(tag));
    found.cloned().context("the layout has no image called latest")
}

/// Makes `descriptor` the only image, under the tag `latest`.
pub(super) fn tag(layout: &Path, mut descriptor: Value) -> Result<()> {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
    fs::write(layout.join("index.json"), index.to_string()).context("cannot write index.json")
}

/// The document that a descriptor points at.
pub(super) fn read(layout: &Path, descriptor: &Value) -> Result<Value> {
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    let name = digest
        .strip_prefix("sha256:")
        .context("a digest that is not sha256")?;
    json_of(&layout.join("blobs/sha256").join(name))
}

/// Stores a document, and describes it.
pub(super) fn write(layout: &Path, media_type: &str, document: &Value) -> Result<Value> {
    let text = document.to_string();
    let name = hex::encode(Sha256::digest(&text));
    fs::write(layout.join("blobs/sha256").join(&name), &text).context("cannot write a blob")?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{name}"), "size": text.len()}))
}

/// Sets a field of the image's `config`.
pub(super) fn configure(layout: &Path, field: &str, value: &Value) -> Result<()> {
    let mut manifest = read(layout, &tagged(layout)?)?;
    let mut config = read(layout, &manifest["config"])?;
    config["config"][field] = value.clone();
    manifest["config"] = write(layout, "application/vnd.oci.image.config.v1+json", &config)?;
    let descriptor = write(layout, "application/vnd.oci.image.manifest.v1+json", &manifest)?;
    tag(layout, descriptor)
}

fn json_of(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}
