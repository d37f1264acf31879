//! The folder of a machine's sockets: made for each boot, gone with it.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;

use crate::layout::Files;
use crate::{Error, Result};

/// Makes it empty.
pub(crate) fn make(files: &Files) -> Result<()> {
    remove(files);
    let parent = files.runtime.parent().unwrap_or(&files.runtime);
    // It is on a file system that a logout or a reboot empties.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(Error::io("make the folder", parent))?;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&files.runtime)
        .map_err(Error::io("make the folder", &files.runtime))
}

pub(crate) fn remove(files: &Files) {
    match std::fs::remove_dir_all(&files.runtime) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %files.runtime.display(), %error, "cannot remove a machine's sockets");
        }
        _ => {}
    }
}
