//! Reading what is stored.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::{BLOBS, Image, Store, StoreError};
use crate::files::{ReadError, StageError, open};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::task::Task;

const BUFFER: usize = 256 << 10;

impl Store {
    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let folder = self.root.join(BLOBS).join(digest.algorithm().as_str());
        folder.join(digest.hex())
    }

    /// The size of a stored blob, in bytes.
    pub(crate) fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let metadata = self.blob_path(digest).symlink_metadata().ok();
        metadata
            .filter(std::fs::Metadata::is_file)
            .map(|metadata| metadata.len())
    }

    /// Whether the blob is there. One of another size is not: it was cut off when the machine lost its power, say.
    #[must_use]
    pub fn has(&self, blob: &Descriptor) -> bool {
        self.blob_size(&blob.digest) == Some(blob.size)
    }

    /// Opens a blob. Whoever reads all of it checks its digest, or that of what it holds: the disk may have changed it
    /// since it came.
    ///
    /// # Errors
    /// It is not there, or has another size.
    pub fn open_blob(&self, blob: &Descriptor) -> Result<File, StoreError> {
        let path = self.blob_path(&blob.digest);
        let (file, size) = match open(&path) {
            Err(error) if error.is_absence() => {
                return Err(StoreError::Missing {
                    digest: blob.digest.clone(),
                });
            }
            file => file?,
        };
        if size == blob.size {
            Ok(file)
        } else {
            Err(StoreError::Damaged {
                path,
                size,
                expected: blob.size,
            })
        }
    }

    /// Removes the layers of an image that are not what they were when they came.
    pub(super) fn drop_damaged(&self, image: &Image, task: &Task) -> Result<(), StoreError> {
        let mut buffer = vec![0; BUFFER];
        for blob in &image.manifest.layers {
            let Ok(mut file) = self.open_blob(blob) else {
                continue;
            };
            let path = self.blob_path(&blob.digest);
            let mut hasher = Hasher::new(blob.digest.algorithm());
            loop {
                task.check()?;
                let count = file
                    .read(&mut buffer)
                    .map_err(|source| ReadError::new(&path, source))?;
                if count == 0 {
                    break;
                }
                hasher.update(buffer.get(..count).unwrap_or_default());
            }
            if hasher.finish() != blob.digest {
                std::fs::remove_file(&path).map_err(|source| StageError::new(&path, 0, source))?;
                tracing::warn!(path = %path.display(), "the disk changed what was stored: removed");
            }
        }
        Ok(())
    }

    /// Reads a blob of at most `limit` bytes and checks its digest.
    ///
    /// # Errors
    /// It is not there, is larger, or was damaged.
    pub fn read_blob(&self, blob: &Descriptor, limit: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(&blob.digest);
        if blob.size > limit {
            return Err(ReadError::TooLarge {
                path,
                size: blob.size,
                limit,
            }
            .into());
        }
        let mut bytes = Vec::new();
        let mut file = self.open_blob(blob)?.take(limit);
        file.read_to_end(&mut bytes).map_err(|source| ReadError::Io {
            path: path.clone(),
            source,
        })?;
        let mut hasher = Hasher::new(blob.digest.algorithm());
        hasher.update(&bytes);
        if hasher.finish() == blob.digest {
            Ok(bytes)
        } else {
            Err(StoreError::Damaged {
                path,
                size: bytes.len() as u64,
                expected: blob.size,
            })
        }
    }
}
