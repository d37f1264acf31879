//! A file that goes with what it was made for.

use std::path::PathBuf;

/// Removes the file of this path when it is dropped, if there is one.
#[derive(Debug)]
pub(crate) struct RemoveOnDrop(pub(crate) PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
