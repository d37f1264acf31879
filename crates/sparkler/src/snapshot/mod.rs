//! The head of a snapshot's state file.
//!
//! Invariant: the first bytes of the file name the program and the version of the format, whatever follows them, so
//! that a file can be described without being understood. Firecracker's own state files are another format and are
//! told apart by the first eight bytes.

mod state;

use std::fmt;
use std::io::{self, Read};

pub use self::state::{Maker, SavedMachine, State, StateError};

/// The first bytes of every state file.
const MAGIC: [u8; 8] = *b"sparkler";

/// Bytes of the head: the magic number and the version.
const HEAD: usize = 14;

/// The version of the format this program knows.
pub const VERSION: Version = Version {
    major: 1,
    minor: 0,
    patch: 0,
};

/// A version of the format: two files with the same major version can be read by the same program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Changes when old files can no longer be read.
    pub major: u16,
    /// Changes when something is added.
    pub minor: u16,
    /// Changes with corrections.
    pub patch: u16,
}

impl Version {
    /// Whether this program can read a file of that version.
    #[must_use]
    pub fn reads(self, file: Self) -> bool {
        file.major == self.major && file.minor <= self.minor
    }

    fn encode(self) -> [u8; 6] {
        let [a, b] = self.major.to_le_bytes();
        let [c, d] = self.minor.to_le_bytes();
        let [e, f] = self.patch.to_le_bytes();
        [a, b, c, d, e, f]
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Why a file's version cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Another program's file.
    #[error("the file is not a state file of sparkler")]
    Foreign,
}

/// Reads the version of a state file from its start.
pub fn read_version(mut file: impl Read) -> Result<Version, HeadError> {
    let mut head = [0; HEAD];
    file.read_exact(&mut head).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => HeadError::Foreign,
        _ => HeadError::Read(error),
    })?;
    if head[..8] != MAGIC {
        return Err(HeadError::Foreign);
    }
    let number = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    Ok(Version {
        major: number(8),
        minor: number(10),
        patch: number(12),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_files_have_a_version() {
        let head = b"sparkler\x01\x00\x02\x00\x03\x00and the rest";
        assert_eq!(read_version(&head[..]).unwrap().to_string(), "1.2.3");
        assert!(matches!(read_version(&b"sparkle"[..]), Err(HeadError::Foreign)));
        assert!(matches!(read_version(&[0; 64][..]), Err(HeadError::Foreign)));
    }
}
