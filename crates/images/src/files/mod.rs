//! The few ways in which this crate touches the file system.

mod read;
mod staging;
mod trust;

pub use read::{ReadError, read};
pub(crate) use read::{open, read_open};
pub use staging::StageError;
pub(crate) use staging::Staging;
pub use trust::{TrustError, check_owner, private_folder};
