//! The few ways in which this crate touches the file system.

mod lock;
mod read;
mod sparse;
mod staging;
mod stamp;
mod trust;
mod writeback;

pub(crate) use lock::{Kind as LockKind, Lock, LockError};
pub use read::{ReadError, read};
pub(crate) use read::{open, read_open};
pub use sparse::{Copied, CopyError, copy_to_new};
pub use staging::StageError;
pub(crate) use staging::{Staging, is_full, replace, sync_folder};
pub(crate) use stamp::{set_stamp, short_digest, stamp_name, stamped, touch};
pub use trust::{TrustError, check_owner, private_folder};
pub(crate) use writeback::Writeback;
