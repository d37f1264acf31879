//! New images: a layer that is packed as it comes, on top of another image or alone.
//!
//! The invariant: nothing of a base image's configuration is lost, what this program does not know of it included; and what is
//! made of the same bytes is the same image, but for the time that the caller gives.

use std::fmt;
use std::io::{self, Read, Write};
use std::thread;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use zstd::stream::write::Encoder;

use super::{Adding, BlobWriter, Image, StoreError};
use crate::files::{ReadError, StageError};
use crate::oci::{Algorithm, Descriptor, Digest, Hasher, MAX_CONFIG, Manifest, Platform, media_type};

/// zstd's quickest level that packs as well as gzip usually does.
const LEVEL: i32 = 1;
/// Threads to pack in, each with some 4 MiB of memory.
const MAX_THREADS: usize = 4;

/// A layer in the making: takes a tar stream. It is packed with zstd, which takes less than half of gzip's time and of its
/// time to unpack.
pub struct LayerWriter {
    packed: Encoder<'static, BlobWriter>,
    diff_id: Hasher,
}

/// A layer that is stored, and that no image has yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLayer {
    pub blob: Descriptor,
    pub diff_id: Digest,
}

/// How a new image came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// As `image history` shows it.
    pub created_by: String,
    /// `None` where the same layer shall make the same image whenever it is made.
    pub created: Option<Timestamp>,
}

impl fmt::Debug for LayerWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerWriter").finish_non_exhaustive()
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

impl LayerWriter {
    /// Ends the layer.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(self) -> Result<NewLayer, StoreError> {
        // The writer beneath wraps its own errors to get them through.
        let path = self.packed.get_ref().path();
        let ended = self
            .packed
            .finish()
            .map_err(|error| match error.downcast::<StoreError>() {
                Ok(error) => error,
                Err(error) => StageError::new(&path, 0, error).into(),
            });
        let (digest, size) = ended?.commit()?;
        Ok(NewLayer {
            blob: Descriptor::new(media_type::LAYER_ZSTD, digest, size),
            diff_id: self.diff_id.finish(),
        })
    }
}

impl Adding {
    /// Begins a layer.
    ///
    /// # Errors
    /// The part cannot be made.
    pub fn layer(&self) -> Result<LayerWriter, StoreError> {
        let blob = self.new_blob()?;
        let path = blob.path();
        let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS));
        let packed = packer(blob, threads).map_err(|error| StageError::new(&path, 0, error))?;
        Ok(LayerWriter {
            packed,
            diff_id: Hasher::new(Algorithm::Sha256),
        })
    }

    /// Stores the configuration and manifest of an image of one layer alone; gives the manifest.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn image_of(
        &self,
        layer: NewLayer,
        platform: &Platform,
        origin: &Origin,
    ) -> Result<Descriptor, StoreError> {
        let mut config = Map::new();
        config.insert("architecture".to_owned(), platform.architecture.clone().into());
        config.insert("os".to_owned(), platform.os.clone().into());
        if !platform.variant.is_empty() {
            config.insert("variant".to_owned(), platform.variant.clone().into());
        }
        config.insert("config".to_owned(), json!({}));
        self.compose(config, Vec::new(), layer, origin)
    }

    /// Stores the configuration and manifest of an image of `base` and one more layer; gives the manifest.
    ///
    /// # Errors
    /// The base is damaged, or they cannot be written.
    pub fn image_on(&self, base: &Image, layer: NewLayer, origin: &Origin) -> Result<Descriptor, StoreError> {
        let config = self.store.read_blob(&base.manifest.config, MAX_CONFIG)?;
        let config: Map<String, Value> =
            serde_json::from_slice(&config).map_err(|error| self.unwritten(error))?;
        // In a manifest of the OCI's, layers have its types, whatever the base's manifest was.
        let layers = base.manifest.layers.iter().map(|layer| self.typed(layer));
        self.compose(config, layers.collect::<Result<_, _>>()?, layer, origin)
    }

    fn compose(
        &self,
        mut config: Map<String, Value>,
        mut layers: Vec<Descriptor>,
        layer: NewLayer,
        origin: &Origin,
    ) -> Result<Descriptor, StoreError> {
        let mut step = json!({"created_by": origin.created_by});
        if let Some(created) = origin.created {
            config.insert("created".to_owned(), created.to_string().into());
            step["created"] = created.to_string().into();
        }
        push(&mut config, "history", step);
        let mut rootfs = match config.remove("rootfs") {
            Some(Value::Object(rootfs)) => rootfs,
            _ => Map::new(),
        };
        rootfs.insert("type".to_owned(), "layers".into());
        push(&mut rootfs, "diff_ids", layer.diff_id.to_string().into());
        config.insert("rootfs".to_owned(), rootfs.into());
        layers.push(layer.blob);
        self.note_packed(&layers);

        let config = serde_json::to_vec(&config).map_err(|error| self.unwritten(error))?;
        self.put(&config)?;
        let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), layers);
        let manifest = serde_json::to_vec(&manifest).map_err(|error| self.unwritten(error))?;
        self.put(&manifest)?;
        Ok(Descriptor::of(media_type::MANIFEST, &manifest))
    }

    /// A stored layer with the OCI's media type for what its first bytes say: gzip (RFC 1952), zstd (RFC 8878), or else plain.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub(crate) fn typed(&self, layer: &Descriptor) -> Result<Descriptor, StoreError> {
        let mut start = Vec::new();
        let file = self.store.open_blob(layer)?;
        let read = file.take(4).read_to_end(&mut start);
        read.map_err(|source| ReadError::new(&self.store.blob_path(&layer.digest), source))?;
        let media_type = match start.as_slice() {
            [0x1f, 0x8b, ..] => media_type::LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => media_type::LAYER_ZSTD,
            _ => media_type::LAYER,
        };
        Ok(Descriptor::new(media_type, layer.digest.clone(), layer.size))
    }

    fn unwritten(&self, error: serde_json::Error) -> StoreError {
        StageError::new(self.store.path(), 0, error.into()).into()
    }
}

/// What packs a layer. What comes out does not depend on how many threads there are, if there are any.
fn packer<W: Write>(out: W, threads: usize) -> io::Result<Encoder<'static, W>> {
    let mut packer = Encoder::new(out, LEVEL)?;
    packer.multithread(u32::try_from(threads).unwrap_or(1))?;
    Ok(packer)
}

/// Adds to a list that may be missing or `null`.
fn push(object: &mut Map<String, Value>, key: &str, value: Value) {
    match object.get_mut(key) {
        Some(Value::Array(list)) => list.push(value),
        _ => drop(object.insert(key.to_owned(), vec![value].into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_layer_is_packed_the_same_way_everywhere() {
        let lines = (0u64..1_000_000).map(|line| format!("{:x}\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let stream = lines.collect::<String>().into_bytes();
        let packed = |threads, piece| {
            let mut packer = packer(Vec::new(), threads).unwrap();
            for bytes in stream.chunks(piece) {
                packer.write_all(bytes).unwrap();
            }
            packer.finish().unwrap()
        };
        let first = packed(1, 512);
        assert!(packed(2, 100_001) == first && packed(MAX_THREADS, 1 << 20) == first);
        assert!(zstd::decode_all(first.as_slice()).unwrap() == stream);
    }
}
