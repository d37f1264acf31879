//! OCI images, kernel bundles and root file systems for microVMs: what a VM boots, made ready on the host.
//!
//! Everything here but [`registry`] is synchronous and does disk work: callers in async code use `spawn_blocking`. Long
//! work takes a [`Task`], by which it is watched and called off. Nothing prints, and nothing needs root or a mount.
//!
//! ```
//! use images::Task;
//! use images::builtin::builtin_image;
//! use images::overlay::create_overlay;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let data = folder.path().join("data");
//! // What all VMs read, and what one of them writes to.
//! let base = builtin_image(&data, &Task::new())?;
//! let disk = folder.path().join("overlay.ext4");
//! create_overlay(&data, &disk, 8 << 30, &Task::new())?;
//! assert_eq!(base.filesystem, "ext4");
//! assert_eq!(disk.metadata()?.len(), 8 << 30);
//! # Ok(())
//! # }
//! ```

mod acl;
pub mod builtin;
pub mod bundle;
pub mod commit;
pub mod convert;
pub mod cpio;
pub mod deb;
pub mod export;
pub mod ext4;
pub mod files;
mod full_disk;
pub mod import;
pub mod kernel;
pub mod layer;
pub mod modules;
pub mod oci;
pub mod overlay;
mod pack;
mod powerunit;
pub mod raw_disk;
pub mod registry;
pub mod rootfs;
pub mod sparse_archive;
pub mod store;
pub mod tar;
mod task;
mod tree;
mod watched;

pub use ext4::{Superblock, SuperblockError, ToolError};
pub use full_disk::is_full_disk;
pub use powerunit::runs_in_guest;
pub use task::{Cancelled, Progress, Task};
