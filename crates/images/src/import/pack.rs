//! An image of one layer, made of a root file system as it is read.
//!
//! The invariant: the same root file system makes the same image, so nothing in it says when or where it was made.

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use serde_json::json;

use super::{Brought, ImportError, Options};
use crate::oci::{Algorithm, Descriptor, Digest, Hasher, Manifest, Platform, media_type};
use crate::store::{Adding, BlobWriter};
use crate::tar::Reader;

/// A layer in the making: takes a tar stream.
pub(super) struct LayerWriter {
    packed: GzEncoder<BlobWriter>,
    diff_id: Hasher,
}

impl LayerWriter {
    pub(super) fn new(adding: &Adding) -> Result<Self, ImportError> {
        // Packed only so that it takes less of the disk: quickly.
        let packed = GzBuilder::new()
            .mtime(0)
            .write(adding.new_blob()?, Compression::fast());
        Ok(Self {
            packed,
            diff_id: Hasher::new(Algorithm::Sha256),
        })
    }

    /// Enters the layer and an image of it alone.
    pub(super) fn finish(
        self,
        adding: &Adding,
        platform: &Platform,
        from: &str,
    ) -> Result<Descriptor, ImportError> {
        let (digest, size) = self.packed.finish().map_err(ImportError::Pack)?.commit()?;
        let layer = Descriptor::new(media_type::LAYER_GZIP, digest, size);
        let config = config(platform, &self.diff_id.finish(), from).to_string();
        adding.put(config.as_bytes())?;
        let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, config.as_bytes()), vec![layer]);
        let manifest = serde_json::to_vec(&manifest).map_err(|error| ImportError::Pack(error.into()))?;
        adding.put(&manifest)?;
        Ok(Descriptor::of(media_type::MANIFEST, &manifest))
    }
}

impl Write for LayerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.packed.write_all(bytes)?;
        self.diff_id.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn config(platform: &Platform, diff_id: &Digest, from: &str) -> serde_json::Value {
    let mut config = json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": format!("imported from {from}")}],
    });
    if let Some(config) = config.as_object_mut().filter(|_| !platform.variant.is_empty()) {
        config.insert("variant".to_owned(), platform.variant.clone().into());
    }
    config
}

/// Passes on what is read, and keeps it in the layer.
struct Tee<'a, R> {
    stream: R,
    layer: &'a mut LayerWriter,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.layer.write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

/// Makes an image of a tar of a root file system, byte for byte as it is. Every entry is looked at, so that no layer is made of
/// what is none.
pub(super) fn from_tar(
    adding: &Adding,
    stream: impl Read,
    options: &Options,
) -> Result<Brought, ImportError> {
    let mut layer = LayerWriter::new(adding)?;
    let tee = Tee {
        stream,
        layer: &mut layer,
    };
    let mut reader = Reader::new(tee, &options.tar);
    while reader.next()?.is_some() {}
    reader.finish()?;
    Ok(Brought {
        manifest: layer.finish(adding, &options.platform, "a tar of a root file system")?,
        names: Vec::new(),
        notices: Vec::new(),
    })
}
