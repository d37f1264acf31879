//! From the layers of an image to its root file system: one read-only ext4 file.
//!
//! The invariant: each layer is read once, from its first byte to its last, and nothing of it touches the host but that one
//! file. What an archive says about paths decides where in the *result* something goes; no path of it is ever opened here.
//!
//! Layers are applied in their order, each entry to the tree as it stands at that moment, the way `umoci unpack` applies
//! them to a folder. File data goes straight to the end of the result. What a later entry hides is given back to the
//! host's file system when all is read: ext4 does not mind free room in its middle.

mod apply;
mod error;
mod limits;
mod stored;
mod xattrs;

use std::fs::File;

pub use error::{ConvertError, Problem};
pub use limits::{InvalidLimits, Limits};
pub use stored::{RootfsError, root_file_system};

use crate::ext4::write::{self, Blocks, Identity};
use crate::layer::{Layer, LayerError};
use crate::task::Task;
use crate::tree::Tree;
use apply::Applier;

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Bytes of the file; its holes included.
    pub size: u64,
    /// Names in the file system, without the root.
    pub entries: u64,
    /// Bytes of data that layers brought and later ones hid.
    pub hidden: u64,
    /// Extended attributes left out since the file system has no place for their kind, or since they mean something to
    /// the host and not to the image (`security.selinux`, `trusted.overlay.*`), or since only the machine that wrote
    /// them could tell whom they name (ACLs by GNU tar).
    pub left_out: u64,
}

/// Writes the file system that `layers` make, the lowest first, to `out`, an empty file. `identity` (16 bytes, such as of the
/// layers' digest) becomes its UUID, so that the same layers make the same file.
///
/// # Errors
/// A layer is damaged, hostile or over a limit, the disk is full, or `task` was called off. What is in `out` is of no use then.
pub fn convert(
    layers: impl IntoIterator<Item = Result<Layer, LayerError>>,
    identity: [u8; 16],
    limits: &Limits,
    out: &File,
    task: &Task,
) -> Result<Converted, ConvertError> {
    let mut blocks = Blocks::new(out, limits.total);
    let mut applier = Applier::new(
        Tree::new(usize::try_from(limits.memory).unwrap_or(usize::MAX)),
        limits,
        task,
    );
    for (number, layer) in layers.into_iter().enumerate() {
        let unfit = |source| ConvertError::Layer {
            layer: number,
            source,
        };
        let layer = applier.apply(number, layer.map_err(unfit)?, &mut blocks)?;
        layer.finish().map_err(unfit)?;
    }
    let applied = applier.finish();
    let written = write::finish(&applied.tree, blocks, Identity(identity), task)?;
    Ok(Converted {
        size: written.size,
        entries: written.entries,
        hidden: written.hidden,
        left_out: applied.left_out,
    })
}
