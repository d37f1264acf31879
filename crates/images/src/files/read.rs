use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a file could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path} may not be read by this user: ask its owner for read access")]
    Denied { path: PathBuf },
    #[error("{path} cannot be read")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is no regular file")]
    NoFile { path: PathBuf },
    #[error("{path} has {size} bytes: more than the {limit} allowed")]
    TooLarge { path: PathBuf, size: u64, limit: u64 },
}

impl ReadError {
    /// Whether there was no such file.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            _ => Self::Io { path, source },
        }
    }
}

/// Opens a plain file; links to one are followed.
pub(crate) fn open(path: &Path) -> Result<(File, u64), ReadError> {
    let broken = |source| ReadError::new(path, source);
    // Asked before it is opened: opening a FIFO would wait for its writer.
    if !std::fs::metadata(path).map_err(broken)?.is_file() {
        return Err(ReadError::NoFile {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(broken)?;
    let size = file.metadata().map_err(broken)?.len();
    Ok((file, size))
}

/// Reads a plain file of at most `limit` bytes.
///
/// # Errors
/// It is not there, is no file, may not be read, or is larger.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let (file, _) = open(path)?;
    read_open(file, path, limit)
}

/// [`read`] of a file that is open already.
pub(crate) fn read_open(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let broken = |source| ReadError::new(path, source);
    let too_large = |size| ReadError::TooLarge {
        path: path.to_owned(),
        size,
        limit,
    };
    let size = file.metadata().map_err(broken)?.len();
    if size > limit {
        return Err(too_large(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(broken)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}
