//! Files into and out of a machine, over SFTP on vsock.

/// How a copy is done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Whose rights count in the guest: `root` unless set.
    pub user: String,
    /// Whether a symbolic link given as the source itself is followed; links inside a folder never are.
    pub follow: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            user: "root".to_owned(),
            follow: false,
        }
    }
}

/// What a copy says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyEvent {
    /// A file, folder or link begins; the size of a file in bytes.
    Entry { path: String, size: u64 },
    /// So many bytes more of the current file are there.
    Bytes(u64),
    /// Something was left out, as a socket or a device: why.
    Skipped { path: String, reason: String },
}

use std::path::Path;

use crate::layout::Files;
use crate::{Error, Name, Result};

pub(crate) async fn into(
    _files: &Files,
    name: &Name,
    _from: &Path,
    _to: &str,
    _options: &CopyOptions,
    _observer: &mut (dyn FnMut(CopyEvent) + Send),
) -> Result<()> {
    Err(Error::NotRunning(name.clone()))
}

pub(crate) async fn out_of(
    _files: &Files,
    name: &Name,
    _from: &str,
    _to: &Path,
    _options: &CopyOptions,
    _observer: &mut (dyn FnMut(CopyEvent) + Send),
) -> Result<()> {
    Err(Error::NotRunning(name.clone()))
}
