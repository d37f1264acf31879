//! Small files that an argument names.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use knaller::Class;

use crate::error::CommandError;

/// The text of the file at `path`, which is `what` to the person; at most `limit` bytes.
pub(crate) fn text(path: &Path, what: &str, limit: u64) -> Result<String, CommandError> {
    if path.as_os_str().is_empty() {
        return Err(CommandError::usage(format!("the path of {what} is empty")));
    }
    let failed = |reason: &dyn std::fmt::Display| {
        CommandError::usage(format!("cannot read {what}, {}: {reason}", path.display()))
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let message = format!("there is no file {} for {what}", path.display());
            CommandError::refused(Class::NotFound, message)
        }
        _ => failed(&error),
    })?;
    file.take(limit + 1)
        .read_to_string(&mut text)
        .map_err(|error| failed(&error))?;
    if text.len() as u64 > limit {
        return Err(failed(&format!("it has more than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_told_from_one_that_is_no_text() {
        let temp = tempfile::tempdir().unwrap();
        let code = |path: &Path| text(path, "the metadata", 3).unwrap_err().exit_code();
        assert_eq!(code(&temp.path().join("absent")), Class::NotFound.code());
        assert_eq!(code(temp.path()), Class::Usage.code());
        assert_eq!(code(Path::new("")), Class::Usage.code());
        let long = temp.path().join("long");
        std::fs::write(&long, "four").unwrap();
        assert_eq!(code(&long), Class::Usage.code());
    }
}
