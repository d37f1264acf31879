//! Layers of images: packed bytes as they were stored come in, a tar stream goes out, and both are checked.
//!
//! The invariant: a [`Layer`] says that it is at its end only when size and digests of what was read are those that were
//! expected; all else is an error. So who reads one to its end and keeps the result keeps only what was verified.
//!
//! The blob is read, digested and unpacked in a thread of its own, ahead of the reader by [`AHEAD`] bytes at most, and the
//! thread is gone when the [`Layer`] is. Memory: those bytes and what the decoder needs, which is limited too (see
//! [`Compression`]).

mod blob;
mod compression;
mod error;
mod limits;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::io::{self, Read};

pub use compression::Compression;
pub use error::LayerError;
pub use limits::Limits;
pub use queue::AHEAD;

use queue::Chunks;
use worker::{Packed, Worker};

use crate::oci::{Algorithm, Digest, Hasher};

/// What a blob must turn out to be; what is `None` is not known and is told by [`Verified`].
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Of the bytes as they are stored.
    pub digest: Option<Digest>,
    /// Of the tar stream.
    pub diff_id: Option<Digest>,
    /// In bytes, as they are stored.
    pub size: Option<u64>,
}

/// What a blob was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// SHA-256 where nothing else was expected, as is the next.
    pub digest: Digest,
    pub diff_id: Digest,
    /// Bytes as they are stored.
    pub size: u64,
    /// Bytes of the tar stream.
    pub uncompressed: u64,
    pub compression: Compression,
}

/// A layer that is being read. Dropping it ends everything, as soon as the blob's current read returns.
///
/// Errors come as [`io::Error`]s that hold a [`LayerError`] (see [`io::Error::downcast`]).
///
/// ```
/// use std::io::Read;
///
/// use images::layer::{Compression, Expected, Layer, Limits};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let blob = zstd::encode_all(&b"any bytes"[..], 1)?;
/// let mut layer = Layer::open(std::io::Cursor::new(blob), Expected::default(), &Limits::default())?;
/// let mut bytes = Vec::new();
/// layer.read_to_end(&mut bytes)?;
/// assert_eq!(bytes, b"any bytes");
/// assert_eq!(layer.finish()?.compression, Compression::Zstd);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Layer {
    chunks: Chunks,
    worker: Option<Worker>,
    expected: Expected,
    compression: Compression,
    /// Of the tar stream. `None`: the stream is the blob, and its digest serves.
    hasher: Option<Hasher>,
    uncompressed: u64,
    verified: Option<Verified>,
}

impl Layer {
    /// Begins to read a blob. How it is packed is told by its first bytes, and not by its media type, which programs
    /// get wrong.
    ///
    /// # Errors
    /// The blob cannot be read, or there can be no further thread.
    pub fn open(
        blob: impl Read + Send + 'static,
        expected: Expected,
        limits: &Limits,
    ) -> Result<Self, LayerError> {
        let (compression, blob) = compression::sniff(blob).map_err(LayerError::Read)?;
        let algorithm = |digest: Option<&Digest>| digest.map_or(Algorithm::Sha256, Digest::algorithm);
        let stored = algorithm(expected.digest.as_ref());
        let unpacked = algorithm(expected.diff_id.as_ref());
        let is_same = compression == Compression::None && stored == unpacked;
        let (chunks, filler) = queue::queue();
        let worker = Worker::start(blob, compression, Hasher::new(stored), &expected, limits, filler)?;
        Ok(Self {
            chunks,
            worker: Some(worker),
            expected,
            compression,
            hasher: (!is_same).then(|| Hasher::new(unpacked)),
            uncompressed: 0,
            verified: None,
        })
    }

    /// Reads what is left and gives what the blob was.
    ///
    /// # Errors
    /// The blob is not what was expected, is damaged or cannot be read.
    pub fn finish(mut self) -> Result<Verified, LayerError> {
        while self.next_chunk()? {}
        self.verified.take().ok_or(LayerError::GivenUp)
    }

    /// Steps to the next bytes; `false`: there are none, and all is verified.
    fn next_chunk(&mut self) -> Result<bool, LayerError> {
        if self.verified.is_some() {
            return Ok(false);
        }
        let Some(bytes) = self.chunks.next() else {
            self.verified = Some(self.verify()?);
            return Ok(false);
        };
        self.uncompressed += bytes.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        Ok(true)
    }

    fn verify(&mut self) -> Result<Verified, LayerError> {
        let worker = self.worker.take().ok_or(LayerError::GivenUp)?;
        let Packed { digest, size } = worker.join()?;
        let diff_id = match self.hasher.take() {
            Some(hasher) => hasher.finish(),
            None => digest.clone(),
        };
        match &self.expected.diff_id {
            Some(expected) if *expected != diff_id => Err(LayerError::DiffId {
                expected: expected.clone(),
                actual: diff_id,
            }),
            _ => Ok(Verified {
                digest,
                diff_id,
                size,
                uncompressed: self.uncompressed,
                compression: self.compression,
            }),
        }
    }
}

impl Read for Layer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.chunks.rest().is_empty() && !self.next_chunk().map_err(io::Error::other)? {
            return Ok(0);
        }
        Ok(self.chunks.read(buffer))
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // A worker that waits for room or for a reader learns that there will be none.
        self.chunks.close();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}
