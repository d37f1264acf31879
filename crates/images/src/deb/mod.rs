//! Debian packages, read as a stream and only for the few files that make a kernel.
//!
//! The invariant: nothing of a package is ever written under a name that the package gave. Its files come to a callback as
//! bytes in memory, and the callback decides by their cleaned path what to keep. What is held in memory at a time is
//! limited, whatever the package says.
//!
//! A package is an `ar` archive (deb(5)) of `debian-binary`, `control.tar` and `data.tar`, the last one packed.

mod ar;

use std::io::{self, Read};

use crate::tar::{Kind, Limits, Reader, TarError};
use crate::task::{Cancelled, Task};

/// Why a package cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    #[error("this is no Debian package: it does not start as an ar archive")]
    NoPackage,
    #[error("the package holds no files: it has no data.tar")]
    NoData,
    #[error("the package's files are packed as {0}, which is not supported: data.tar, .gz, .xz and .zst are")]
    Compression(String),
    #[error("the package is damaged")]
    Damaged(#[source] io::Error),
    #[error("the package's files cannot be read")]
    Files(#[source] TarError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Ten times Debian's generic kernel.
const MAX_UNPACKED: u64 = 8 << 30;
/// A file with a long name has three.
const MAX_HEADERS: u64 = 600_000;
/// The decoder's own memory; dpkg's xz asks for 64 MiB at most and its zstd for 128 MiB.
const MEMORY_KIB: u32 = 256 << 10;

/// A plain file met in a package.
pub struct PackageFile<'a> {
    /// Relative to the root, without `./` and with `lib` for `usr/lib`, so that old and new packages look alike.
    pub path: &'a str,
    /// In bytes.
    pub size: u64,
    content: &'a mut dyn Content,
}

/// The bytes of the file that a reader stands at, without the reader's own type.
trait Content {
    fn append_to(&mut self, bytes: &mut Vec<u8>) -> Result<(), TarError>;
}

impl<R: Read> Content for Reader<R> {
    fn append_to(&mut self, bytes: &mut Vec<u8>) -> Result<(), TarError> {
        while let Some((offset, piece)) = self.data()? {
            // Behind all that came before it: the reader sees to that.
            bytes.resize(usize::try_from(offset).unwrap_or(bytes.len()), 0);
            bytes.extend_from_slice(piece);
        }
        Ok(())
    }
}

impl std::fmt::Debug for PackageFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackageFile")
            .field("path", &self.path)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl PackageFile<'_> {
    /// The file's bytes: of one with more than `limit`, none.
    ///
    /// # Errors
    /// The package is damaged.
    pub fn read(self, limit: u64) -> Result<Option<Vec<u8>>, DebError> {
        let Some(size) = usize::try_from(self.size).ok().filter(|_| self.size <= limit) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        self.content.append_to(&mut bytes).map_err(DebError::Files)?;
        // A sparse file may end with a hole.
        bytes.resize(size, 0);
        Ok(Some(bytes))
    }
}

/// Shows every plain file of the package to `visit`, in the package's order. Links and all else are passed over.
///
/// # Errors
/// The bytes are no package, are damaged or exceed the limits; `visit` fails; `task` is called off.
pub fn visit_package<E: From<DebError>>(
    package: impl Read,
    task: &Task,
    visit: &mut dyn FnMut(PackageFile<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (name, member) = ar::find_data(package)?;
    let files: Box<dyn Read + '_> = match name.as_str() {
        "data.tar" => Box::new(member),
        "data.tar.gz" => Box::new(flate2::read::GzDecoder::new(member)),
        "data.tar.xz" => Box::new(lzma_rust2::XzReader::new_mem_limit(member, false, MEMORY_KIB)),
        "data.tar.zst" => Box::new(zstd::stream::read::Decoder::new(member).map_err(DebError::Damaged)?),
        _ => return Err(DebError::Compression(name).into()),
    };

    let limits = Limits {
        headers: MAX_HEADERS,
        total: MAX_UNPACKED,
        ..Limits::default()
    };
    let mut reader = Reader::new(files, &limits);
    loop {
        task.check().map_err(DebError::from)?;
        let Some(entry) = reader.next().map_err(DebError::Files)? else {
            return Ok(());
        };
        let Kind::File { size } = entry.kind else {
            continue;
        };
        if let Some(path) = std::str::from_utf8(&entry.path).ok().and_then(clean) {
            visit(PackageFile {
                path: &path,
                size,
                content: &mut reader,
            })?;
        }
    }
}

/// A path in the form that [`PackageFile::path`] has, or `None` if it leads anywhere else.
fn clean(path: &str) -> Option<String> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let path = path
        .strip_prefix("usr/")
        .filter(|rest| rest.starts_with("lib/"))
        .unwrap_or(path);
    let inside = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (inside && path.len() < 4096).then(|| path.to_owned())
}

#[cfg(test)]
mod tests;
