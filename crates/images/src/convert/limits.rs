//! How much an image may be.

const MIB: u64 = 1 << 20;

/// Limits on what an image's layers hold. The defaults take every image that people run and stop what was made to fill
/// a disk; each can be raised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of file data that are written, all layers together, what later ones hide included. At most 8 TiB.
    pub total: u64,
    /// Bytes of a single file, as its length is told: a sparse one counts whole.
    pub file: u64,
    /// Entries of all layers together.
    pub entries: u64,
    /// Folders within one another.
    pub depth: usize,
    /// Bytes of memory for names and inodes while an image is converted: about 110 for each of them, and its name.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: 64 * 1024 * MIB,
            file: 16 * 1024 * MIB,
            entries: 2_000_000,
            depth: 2_048,
            memory: 112 << 20,
        }
    }
}
