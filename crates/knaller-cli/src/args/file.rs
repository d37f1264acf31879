//! Small files that an argument names.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::error::CommandError;

/// The text of the file at `path`, which is `what` to the person; at most `limit` bytes.
pub(crate) fn text(path: &Path, what: &str, limit: u64) -> Result<String, CommandError> {
    let failed = |reason: &dyn std::fmt::Display| {
        CommandError::usage(format!("cannot read {what}, {}: {reason}", path.display()))
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| failed(&error))?;
    file.take(limit + 1)
        .read_to_string(&mut text)
        .map_err(|error| failed(&error))?;
    if text.len() as u64 > limit {
        return Err(failed(&format!("it has more than {limit} bytes")));
    }
    Ok(text)
}
