//! The whole of what this library has on a host: what it takes, what is left of killed processes, what there is to run machines
//! with.

mod about;
mod prune;
mod usage;

pub(crate) use about::about;
pub use about::{About, Found, Possible};
pub use prune::Healed;
pub(crate) use prune::prune;
pub(crate) use usage::disk_usage;
pub use usage::{Disk, DiskUsage};
