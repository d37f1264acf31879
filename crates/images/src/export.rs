//! An image as one file that other tools read.
//!
//! The invariant: the same image under the same names makes the same bytes. What comes is an OCI archive (a layout in a tar:
//! skopeo, umoci, podman, buildah), and as Docker's own newer archives also has `manifest.json`, so that every `docker load`
//! takes it.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::iter;

use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::oci::{Descriptor, Index, REF_NAME, Reference};
use crate::store::{Adding, Image, StoreError};
use crate::task::{Cancelled, Task};
use crate::watched::{Meter, Watched};

/// What containerd and Docker take an image's name from.
const WHOLE_NAME: &str = "io.containerd.image.name";

/// Why an image was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error("the archive cannot be written")]
    Write(#[from] io::Error),
}

/// Writes `image` to `out` under its names. Nothing of it is removed meanwhile: that is what `hold` is for.
///
/// # Errors
/// A blob is missing or was cut off, `out` cannot be written, or `task` is called off.
pub fn export(hold: &Adding, image: &Image, out: impl Write, task: &Task) -> Result<(), ExportError> {
    let mut tar = Builder::new(out);
    let mut blobs = image.blobs();
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    let algorithms: BTreeSet<&str> = blobs
        .iter()
        .map(|blob| blob.digest.algorithm().as_str())
        .collect();
    let folders = algorithms
        .into_iter()
        .map(|algorithm| format!("blobs/{algorithm}/"));
    for folder in iter::once("blobs/".to_owned()).chain(folders) {
        tar.append_data(&mut header(EntryType::Directory, 0o755, 0), folder, io::empty())?;
    }
    let total = blobs.iter().map(|blob| blob.size).sum();
    let meter = Meter::new("writing the image", Some(total), task);
    for blob in blobs {
        let mut file = Watched::new(hold.store().open_blob(blob)?, &meter);
        let mut header = header(EntryType::Regular, 0o644, blob.size);
        // Called off in the middle of a blob, it reads as a broken one.
        tar.append_data(&mut header, blob_name(blob), &mut file)
            .map_err(|error| task.check().err().map_or(error.into(), ExportError::from))?;
    }
    let mut file = |name: &str, bytes: &[u8]| {
        let mut header = header(EntryType::Regular, 0o644, bytes.len() as u64);
        tar.append_data(&mut header, name, bytes)
    };
    file("index.json", index(image).to_string().as_bytes())?;
    file("manifest.json", docker_manifest(image).to_string().as_bytes())?;
    file("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
    tar.into_inner()?.flush()?;
    Ok(())
}

fn blob_name(blob: &Descriptor) -> String {
    format!("blobs/{}/{}", blob.digest.algorithm().as_str(), blob.digest.hex())
}

fn index(image: &Image) -> serde_json::Value {
    let named = image.names.iter().map(|name| {
        let mut entry = image.descriptor.clone();
        entry.platform =
            Some(image.config.platform.clone()).filter(|platform| !platform.architecture.is_empty());
        entry.annotations.insert(REF_NAME.to_owned(), name.to_string());
        entry.annotations.insert(WHOLE_NAME.to_owned(), name.to_string());
        entry
    });
    let mut entries: Vec<Descriptor> = named.collect();
    if entries.is_empty() {
        entries.push(image.descriptor.clone());
    }
    json!(Index::new(entries))
}

fn docker_manifest(image: &Image) -> serde_json::Value {
    let tags = image.names.iter().filter(|name| name.digest().is_none());
    let layers: Vec<String> = image.manifest.layers.iter().map(blob_name).collect();
    json!([{
        "Config": blob_name(&image.manifest.config),
        "RepoTags": tags.map(Reference::familiar).collect::<Vec<_>>(),
        "Layers": layers,
    }])
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}
