//! Journals are replayed by e2fsck(8), which has the only complete reader of them outside the kernel.

use std::ffi::OsStr;
use std::path::Path;

use crate::ext4::{ToolError, run};

/// Why a journal was not replayed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ReplayError(#[from] ToolError);

/// Replays the journal of the file system in `image`, a file that nobody else uses (a copy, where the disk itself is not to
/// be changed), so that it can be read. Does nothing where there is nothing to replay.
///
/// # Errors
/// e2fsck is not installed, or finds the journal damaged.
pub fn replay_journal(image: &Path) -> Result<(), ReplayError> {
    let arguments = ["-p", "-E", "journal_only"].map(OsStr::new);
    // 1: what was to be mended was mended.
    run(
        "e2fsck",
        arguments.into_iter().chain([image.as_os_str()]),
        &|output| matches!(output.status.code(), Some(0 | 1)),
    )?;
    Ok(())
}
