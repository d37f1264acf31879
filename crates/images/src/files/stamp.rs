//! Remembering what was made of a file without reading the file again.
//!
//! The invariant: a stamp's name holds the state of exactly one file (where it lies, its size and times), so a stamp that is
//! found under a file's present state leads to what was made of its present content. It is a symbolic link to that, in the
//! same folder: one system call to look up.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{StageError, Staging};

/// The name of the stamp for a file in the state `metadata`. With the time of its last change (ctime), which no program can
/// set, so a file of the same size written over within a second is seen.
pub(crate) fn stamp_name(prefix: &str, metadata: &Metadata) -> String {
    let state = [
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime().cast_unsigned(),
        metadata.mtime_nsec().cast_unsigned(),
        metadata.ctime().cast_unsigned(),
        metadata.ctime_nsec().cast_unsigned(),
    ];
    let bytes: Vec<u8> = state.iter().flat_map(|number| number.to_le_bytes()).collect();
    format!("{prefix}{}", short_digest(&bytes))
}

/// The file that a stamp leads to, if it is there and its name begins with `prefix`.
pub(crate) fn stamped(folder: &Path, stamp: &str, prefix: &str) -> Option<(PathBuf, Metadata)> {
    let target = fs::read_link(folder.join(stamp)).ok()?;
    let name = target
        .to_str()
        .filter(|name| name.starts_with(prefix) && !name.contains('/'))?;
    let path = folder.join(name);
    let metadata = path.symlink_metadata().ok().filter(Metadata::is_file)?;
    Some((path, metadata))
}

/// Makes or replaces a stamp, in one step.
pub(crate) fn set_stamp(folder: &Path, stamp: &str, target: &str) -> Result<(), StageError> {
    let path = folder.join(stamp);
    let staging = Staging::new(folder)?;
    let new = staging.path().join(stamp);
    let made = symlink(target, &new).and_then(|()| fs::rename(&new, &path));
    made.map_err(|source: io::Error| StageError::new(&path, 0, source))
}

/// 32 hexadecimal digits: enough that no two meet by chance.
pub(crate) fn short_digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    hex::encode(digest.get(..16).unwrap_or_default())
}

/// Marks a file as used now.
pub(crate) fn touch(path: &Path) -> io::Result<()> {
    let file = File::options().append(true).open(path)?;
    file.set_modified(std::time::SystemTime::now())
}
