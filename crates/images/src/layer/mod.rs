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

use crate::oci::{Digest, Hasher};

/// What a blob must turn out to be; what is `None` is not known, and no digest is taken to find it out.
///
/// Of a layer whose tar stream has the right digest, that of the blob says nothing more.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
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
    /// Of the tar stream. `None`: nobody expects a digest, or the stream is the blob, and the worker's serves.
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
        let algorithm = |digest: &Option<Digest>| digest.as_ref().map(Digest::algorithm);
        let (mut stored, mut unpacked) = (algorithm(&expected.digest), algorithm(&expected.diff_id));
        if compression == Compression::None && (stored.is_none() || stored == unpacked) {
            stored = unpacked.take().or(stored);
        }
        let (chunks, filler) = queue::queue();
        let hasher = stored.map(Hasher::new);
        let worker = Worker::start(blob, compression, hasher, &expected, limits, filler)?;
        Ok(Self {
            chunks,
            worker: Some(worker),
            expected,
            compression,
            hasher: unpacked.map(Hasher::new),
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
        let diff_id = self.hasher.take().map(Hasher::finish).or(digest);
        match (&self.expected.diff_id, diff_id) {
            (Some(expected), Some(actual)) if *expected != actual => Err(LayerError::DiffId {
                expected: expected.clone(),
                actual,
            }),
            _ => Ok(Verified {
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
