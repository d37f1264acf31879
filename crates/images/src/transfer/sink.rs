//! The store as the place where a pull's blobs go.

use crate::oci::Descriptor;
use crate::registry::{BlobPart, BlobSink, CommitError, SinkError};
use crate::store::{Adding, BlobWriter, StoreError};
use crate::task::Task;

/// A hold on the store, and by what waiting for others is called off.
pub(super) struct Inbox {
    pub(super) adding: Adding,
    pub(super) task: Task,
}

impl BlobSink for Inbox {
    type Part = BlobWriter;

    fn open(&self, blob: &Descriptor) -> Result<Option<BlobWriter>, SinkError> {
        let writer = self.adding.blob(&blob.digest, Some(blob.size), &self.task)?;
        Ok(writer.map(|mut writer| {
            writer.keep();
            writer
        }))
    }
}

impl BlobPart for BlobWriter {
    fn offset(&self) -> u64 {
        Self::offset(self)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        Ok(self.add(bytes)?)
    }

    fn restart(&mut self) -> Result<(), SinkError> {
        Ok(Self::restart(self)?)
    }

    fn commit(self) -> Result<(), CommitError> {
        match Self::commit(self) {
            Ok(_) => Ok(()),
            Err(StoreError::Mismatch { found, .. }) => Err(CommitError::Mismatch(found)),
            Err(error) => Err(CommitError::Failed(error.into())),
        }
    }
}
