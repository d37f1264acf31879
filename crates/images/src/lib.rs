//! Kernel bundles and root file systems for microVMs: what a VM boots, made ready on the host.
//!
//! Everything here is synchronous and does disk work: callers in async code use `spawn_blocking`. Long work takes a
//! [`Task`], by which it is watched and called off. Nothing prints, and nothing needs root or a mount.

pub mod builtin;
pub mod bundle;
pub mod cpio;
pub mod deb;
mod ext4;
pub mod files;
pub mod kernel;
pub mod modules;
pub mod overlay;
mod powerunit;
pub mod rootfs;
mod task;

pub use ext4::{Superblock, SuperblockError, ToolError};
pub use powerunit::{NoPowerunit, POWERUNIT_VARIABLE, find_powerunit};
pub use task::{Cancelled, Progress, Task};
