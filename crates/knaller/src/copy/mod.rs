//! Files into and out of a machine, over SFTP on vsock.
//!
//! The invariant: a copy writes below its target and nowhere else, whatever the other side says. The guest is not trusted:
//! see `host`.

use std::path::Path;

use crate::layout::Files;
use crate::{Error, Name, Result};

mod host;
mod into;
mod out_of;
mod remote;

use remote::Remote;

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

type Observer<'a> = &'a mut (dyn FnMut(CopyEvent) + Send);

/// The most folders in each other.
const MAX_DEPTH: usize = 512;

pub(crate) async fn into(
    files: &Files,
    name: &Name,
    from: &Path,
    to: &str,
    options: &CopyOptions,
    observer: Observer<'_>,
) -> Result<()> {
    let remote = Remote::connect(files, name, &options.user).await?;
    into::copy(&remote, from, to, options, observer).await
}

pub(crate) async fn out_of(
    files: &Files,
    name: &Name,
    from: &str,
    to: &Path,
    options: &CopyOptions,
    observer: Observer<'_>,
) -> Result<()> {
    let remote = Remote::connect(files, name, &options.user).await?;
    out_of::copy(&remote, from, to, options, observer).await
}

fn failed(what: impl Into<String>, reason: &dyn std::fmt::Display) -> Error {
    Error::Copy {
        what: what.into(),
        reason: reason.to_string(),
    }
}
