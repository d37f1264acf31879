//! ext4 file systems in plain files, made without root and without a mount.
//!
//! The invariant: a file system made here depends on nothing of the host but, where it is an empty disk, the version of
//! e2fsprogs: its features are listed, not taken from `mke2fs.conf`, and every inode's owner is said, not taken from whoever
//! runs this.

mod crc32c;
mod mkfs;
pub mod read;
mod superblock;
mod tools;
pub(crate) mod write;

pub(crate) use mkfs::{Blank, MakeError, make_blank};
pub use superblock::{Superblock, SuperblockError};
pub use tools::ToolError;
pub(crate) use tools::run;
