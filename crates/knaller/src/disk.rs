//! Files of a machine's disks, and what a full disk says.

use std::io;
use std::path::Path;

use crate::Error;

/// Turns an error that means a full disk into one that says so with figures.
pub(crate) fn explain(error: Error, action: &'static str, path: &Path, needed: u64) -> Error {
    let full = |source: &io::Error| {
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    };
    match error {
        Error::Io { ref source, .. } if full(source) => Error::DiskFull {
            action,
            path: path.to_owned(),
            needed,
            available: available(path).unwrap_or(0),
        },
        other => other,
    }
}

/// Free bytes for this user on the file system of `path`, or of the nearest folder above it that exists.
pub(crate) fn available(path: &Path) -> io::Result<u64> {
    let nearest = path
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    let figures = rustix::fs::statvfs(nearest)?;
    Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
}
