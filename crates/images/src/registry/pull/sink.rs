//! Where fetched blobs go.

use std::error::Error;

use crate::oci::{Descriptor, Digest};

/// What a store says of its failures.
pub type SinkError = Box<dyn Error + Send + Sync>;

/// A store of blobs. Its functions may block: they are called on threads that are there for it.
pub trait BlobSink: Send + Sync + 'static {
    /// A blob on its way in.
    type Part: BlobPart;

    /// Opens the place of a blob, waiting for somebody else who fetches the same one. `None`: the blob is there, whole.
    ///
    /// # Errors
    /// It cannot be written there.
    fn open(&self, blob: &Descriptor) -> Result<Option<Self::Part>, SinkError>;
}

/// A blob that is not whole yet. Dropped, it keeps what was written for a later attempt.
pub trait BlobPart: Send + 'static {
    /// How many bytes there are, from the first on: of an earlier attempt at first.
    fn offset(&self) -> u64;

    /// Adds to the end.
    ///
    /// # Errors
    /// There is no room, say.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError>;

    /// Throws away what is there.
    ///
    /// # Errors
    /// It cannot be.
    fn restart(&mut self) -> Result<(), SinkError>;

    /// Makes it a blob of the store.
    ///
    /// # Errors
    /// Its digest is another one, and nothing of it is kept; or it cannot be put in place.
    fn commit(self) -> Result<(), CommitError>;
}

/// Why a blob did not become one of the store.
#[derive(Debug)]
pub enum CommitError {
    /// Its bytes have this digest.
    Mismatch(Digest),
    Failed(SinkError),
}
