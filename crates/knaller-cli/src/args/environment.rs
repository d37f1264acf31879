//! Environment variables for a guest: `NAME=VALUE`, `NAME` (this process's own value), and files of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::error::CommandError;

/// The largest file of variables that is read, in bytes: what a guest's config can carry.
const MAX_FILE: u64 = 512 * 1024;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct EnvironmentArgs {
    /// Set a variable; a bare NAME takes its value from here
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Set the variables in a file of NAME=VALUE lines
    #[arg(long = "env-file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    env_file: Vec<PathBuf>,
}

impl EnvironmentArgs {
    /// All of them: later ones win over earlier ones, `--env` over `--env-file`.
    pub(crate) fn read(&self) -> Result<BTreeMap<String, String>, CommandError> {
        let mut variables = BTreeMap::new();
        for path in &self.env_file {
            for line in read(path)?.lines().map(str::trim_start) {
                if !line.is_empty() && !line.starts_with('#') {
                    set(&mut variables, line);
                }
            }
        }
        for entry in &self.env {
            set(&mut variables, entry);
        }
        Ok(variables)
    }
}

/// A bare name that is not set here sets nothing, as with `docker run`.
fn set(variables: &mut BTreeMap<String, String>, entry: &str) {
    match entry.split_once('=') {
        Some((name, value)) => {
            variables.insert(name.to_owned(), value.to_owned());
        }
        None => {
            if let Ok(value) = std::env::var(entry) {
                variables.insert(entry.to_owned(), value);
            }
        }
    }
}

fn read(path: &Path) -> Result<String, CommandError> {
    super::file::text(path, "the file of variables", MAX_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_entries_win_over_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        std::fs::write(
            &file,
            "# a comment\n\nA=file\n  B=two = 2\nNOT_SET_ANYWHERE_ELSE\n",
        )
        .unwrap();
        let arguments = EnvironmentArgs {
            env: vec!["A=option".to_owned()],
            env_file: vec![file],
        };
        let read: Vec<_> = arguments.read().unwrap().into_iter().collect();
        assert_eq!(
            read,
            [
                ("A".to_owned(), "option".to_owned()),
                ("B".to_owned(), "two = 2".to_owned())
            ]
        );
    }
}
