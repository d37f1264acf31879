//! What a machine wrote.

use bytes::Bytes;

use crate::Result;

/// Which log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogSource {
    /// The guest's serial console.
    #[default]
    Console,
    /// The VMM's and pasta's own messages.
    Vmm,
}

/// A log being read.
#[derive(Debug)]
pub struct Logs {
    _private: (),
}

impl Logs {
    /// The next piece, of any length; `None` at the end. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
}
