//! The root file system of an image that is in the store.

use super::{ConvertError, Limits, convert};
use crate::layer::{Expected, Layer, LayerError};
use crate::oci::Digest;
use crate::store::{Adding, Image, Rootfs, StoreError};
use crate::task::Task;
use crate::watched::{Meter, Watched};

/// Why an image has no root file system.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the image {image} cannot be made into a root file system")]
    Convert { image: String, source: ConvertError },
}

/// The root file system of `image`: made of its layers where no earlier one is there. Everybody else who wants it waits
/// meanwhile.
///
/// # Errors
/// A layer is missing, damaged, hostile or over a limit, the disk is full, or `task` is called off. Nothing is left then.
pub fn root_file_system(
    adding: &Adding,
    image: &Image,
    limits: &Limits,
    task: &Task,
) -> Result<Rootfs, RootfsError> {
    let convert_all = |out: &std::fs::File| {
        let meter = Meter::new("unpacking the layers", Some(image.manifest.packed_size()), task);
        let layers = image.manifest.layers.iter().zip(&image.config.diff_ids);
        let opened = layers.map(|(blob, diff_id)| {
            let file = adding.store().open_blob(blob);
            let file = file.map_err(|error| LayerError::Read(std::io::Error::other(error)))?;
            let expected = Expected {
                digest: None,
                diff_id: Some(diff_id.clone()),
                size: Some(blob.size),
            };
            let limits = adding.limits_on(image, blob, &limits.layer());
            let limits = limits.map_err(|error| LayerError::Read(std::io::Error::other(error)))?;
            Layer::open(Watched::new(file, &meter), expected, &limits)
        });
        let converted = convert(opened, identity(&image.config.chain_id()), limits, out, task);
        let converted = converted.map_err(|source| RootfsError::Convert {
            image: image.display_name(),
            // Called off in the middle of a read, it looks like a broken layer.
            source: task.check().err().map_or(source, Into::into),
        })?;
        if converted.left_out > 0 {
            tracing::info!(count = converted.left_out, "extended attributes were left out");
        }
        Ok(())
    };
    adding.rootfs(image, task, convert_all)
}

/// The first bytes of what names the layers: the same layers make the same file.
fn identity(chain: &Digest) -> [u8; 16] {
    let mut bytes = [0; 16];
    // A digest's text is checked when it is read: it is hexadecimal, and longer than this.
    let _ = hex::decode_to_slice(&chain.hex()[..32], &mut bytes);
    bytes
}
