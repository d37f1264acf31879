//! Runs the command in a world of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The folders of one test, gone with it.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

/// What a run of the command left.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The command with nothing of the caller's environment but the search path, at 80 columns.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knaller"));
        command
            .args(words)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("KNALLER_DATA", self.path().join("data"))
            .env("KNALLER_RUNTIME", self.path().join("run"))
            .env("COLUMNS", "80")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        Ran::from(&self.command(words).output().unwrap())
    }

    /// As [`Self::run`], of what must succeed: its standard output.
    pub(crate) fn succeed(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.stderr);
        ran.stdout
    }
}

impl Ran {
    pub(crate) fn from(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// All of it as one text.
    pub(crate) fn shown(&self) -> String {
        let code = self
            .code
            .map_or_else(|| "by a signal".to_owned(), |code| code.to_string());
        format!("{}--- stderr\n{}--- exit code {code}", self.stdout, self.stderr)
    }
}
