//! What a machine has changed, as a layer over its image: from its overlay disk to a tar stream.
//!
//! The invariant: the layer over the base shows what the machine saw when it stopped. The disk is the guest's, who may have
//! written all of it: it decides what is in the layer, within limits, and nothing else. The same disk makes the same bytes.
//!
//! The disk is an ext4 file system with the folder `upper` of an overlayfs mount, whose marks are written down in the kernel's
//! Documentation/filesystems/overlayfs.rst: whiteouts (devices 0/0, or files with an attribute), opaque folders, folders that
//! were renamed and say where their contents are (`redirect`), files whose data was not copied (`metacopy`). A layer knows
//! whiteouts and opaque folders only (OCI image specification, layer.md): what was renamed is written whole, and a hard link
//! between what is written and what stays in the base becomes two files, as it does for overlayfs when one is written to.

mod error;
mod marks;
mod own;
mod packer;
mod walk;

use std::fs::File;
use std::io::Write;

pub use error::CommitError;
pub use own::{IsOwn, Own, OwnContents};

use crate::convert::Limits;
use crate::ext4::read::Filesystem;
use crate::oci::Digest;
use crate::task::Task;
use error::Side;
use packer::Packer;
use walk::Walk;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Of the tar stream, before it was packed.
    pub diff_id: Digest,
    /// Bytes of the tar stream.
    pub size: u64,
    /// Entries in it, whiteouts too; 1 where nothing but perhaps the root folder itself was changed.
    pub entries: u64,
    /// Sockets, and extended attributes with names that are no text: a layer cannot hold them.
    pub left_out: u64,
}

/// Writes the changes on the disk `overlay`, made over the image `base`, to `out` as a gzip'd tar stream.
///
/// `own` are the files that the machine's init writes: as it wrote them they are left out, and those of the base stay.
///
/// `limits` are those of a conversion: the layer must be one that can be converted again.
///
/// # Errors
/// A disk is damaged, was not unmounted (see [`replay_journal`](crate::ext4::read::replay_journal)) or has no `upper`, there
/// is more than the limits allow, `out` cannot be written, or `task` was called off.
pub fn layer(
    overlay: &File,
    base: &File,
    own: &[Own],
    limits: &Limits,
    out: impl Write,
    task: &Task,
) -> Result<Committed, CommitError> {
    let open = |side, file| Filesystem::open(file).map_err(|source| CommitError::Disk { side, source });
    let (upper, lower) = (open(Side::Overlay, overlay)?, open(Side::Base, base)?);
    let packer = Packer::new(out, limits, task);
    Walk::new(&upper, &lower, own, limits, packer)?.run()
}
