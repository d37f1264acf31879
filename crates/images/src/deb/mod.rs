//! Debian packages, read as a stream and only for the few files that make a kernel.
//!
//! The invariant: nothing of a package is ever written under a name that the package gave. Its files come to a callback as
//! bytes in memory, and the callback decides by their cleaned path what to keep. What is held in memory at a time is
//! limited, whatever the package says.
//!
//! A package is an `ar` archive (deb(5)) of `debian-binary`, `control.tar` and `data.tar`, the last one packed.

mod ar;
mod budget;

use std::io::{self, Read};

use budget::Budget;

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
    #[error("the package unpacks to more than {MAX_UNPACKED} bytes or {MAX_ENTRIES} files")]
    TooLarge,
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Ten times Debian's generic kernel.
const MAX_UNPACKED: u64 = 8 << 30;
const MAX_ENTRIES: u64 = 200_000;
/// What tar may use for one entry's headers; real ones need 512 bytes, long names a little more.
const MAX_HEADERS: u64 = 1 << 20;
/// The decoder's own memory; dpkg's xz asks for 64 MiB at most and its zstd for 128 MiB.
const MEMORY_KIB: u32 = 256 << 10;

/// A plain file met in a package.
pub struct PackageFile<'a> {
    /// Relative to the root, without `./` and with `lib` for `usr/lib`, so that old and new packages look alike.
    pub path: &'a str,
    /// In bytes.
    pub size: u64,
    content: &'a mut dyn Read,
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
        if self.size > limit {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.content
            .take(self.size)
            .read_to_end(&mut bytes)
            .map_err(DebError::Damaged)?;
        if bytes.len() as u64 == self.size {
            Ok(Some(bytes))
        } else {
            Err(DebError::Damaged(io::ErrorKind::UnexpectedEof.into()))
        }
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

    let budget = Budget::default();
    let mut archive = tar::Archive::new(budget.reader(files));
    let mut entries = archive.entries().map_err(DebError::Damaged)?;
    let (mut count, mut unpacked) = (0, 0u64);
    loop {
        task.check().map_err(DebError::from)?;
        budget.allow(MAX_HEADERS);
        let Some(entry) = entries.next() else {
            return Ok(());
        };
        let mut entry = entry.map_err(DebError::Damaged)?;
        count += 1;
        let size = entry.size();
        unpacked = unpacked.saturating_add(size);
        if count > MAX_ENTRIES || unpacked > MAX_UNPACKED {
            return Err(DebError::TooLarge.into());
        }
        budget.allow(size.saturating_add(MAX_HEADERS));
        let path = std::str::from_utf8(&entry.path_bytes()).ok().and_then(clean);
        if let Some(path) = path.filter(|_| entry.header().entry_type().is_file()) {
            visit(PackageFile {
                path: &path,
                size,
                content: &mut entry,
            })?;
        }
        // Read to its end here, so that the next step reads headers only.
        io::copy(&mut entry, &mut io::sink()).map_err(DebError::Damaged)?;
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
