use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read};

use super::error::LayerError;
use crate::oci::Hasher;

/// What is known of a blob while a decoder has hold of it.
pub(super) struct Account {
    read: Cell<u64>,
    hasher: RefCell<Option<Hasher>>,
    /// What went wrong with the blob itself. Decoders do not tell it from what is wrong with its content.
    failure: Cell<Option<LayerError>>,
}

impl Account {
    pub(super) fn new(hasher: Option<Hasher>) -> Self {
        Self {
            read: Cell::new(0),
            hasher: RefCell::new(hasher),
            failure: Cell::new(None),
        }
    }

    /// Bytes read so far.
    pub(super) fn read(&self) -> u64 {
        self.read.get()
    }

    pub(super) fn take_failure(&self) -> Option<LayerError> {
        self.failure.take()
    }

    pub(super) fn into_hasher(self) -> Option<Hasher> {
        self.hasher.into_inner()
    }
}

/// A blob that is counted, and digested where that is wanted, as it is read.
pub(super) struct Blob<'a, R> {
    inner: R,
    account: &'a Account,
    /// Bytes that it may have.
    limit: u64,
}

impl<'a, R: Read> Blob<'a, R> {
    pub(super) fn new(inner: R, account: &'a Account, limit: u64) -> Self {
        Self {
            inner,
            account,
            limit,
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let got = loop {
            match self.inner.read(buffer) {
                Ok(got) => break got,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::Read(error)),
            }
        };
        let total = self.account.read.get().saturating_add(got as u64);
        if total > self.limit {
            return Err(LayerError::Long { limit: self.limit });
        }
        self.account.read.set(total);
        if let Some(hasher) = self.account.hasher.borrow_mut().as_mut() {
            hasher.update(buffer.get(..got).unwrap_or_default());
        }
        Ok(got)
    }
}

impl<R: Read> Read for Blob<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer).map_err(|failure| {
            self.account.failure.set(Some(failure));
            io::Error::other("the blob failed")
        })
    }
}
