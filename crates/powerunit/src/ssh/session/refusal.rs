//! Why a session runs nothing, as its user reads it and as a script sees it.

use crate::console::chain;
use crate::launch;

/// What a shell exits with when it cannot find a program.
pub(super) const NOT_FOUND: u8 = 127;

/// What `docker run` exits with when nothing could be run for reasons other than the program's own.
const NOT_RUN: u8 = 125;

/// The text and the exit code.
#[derive(Debug)]
pub(super) struct Refusal {
    pub why: String,
    pub code: u8,
}

impl Refusal {
    pub(super) fn not_run(why: String) -> Self {
        Self { why, code: NOT_RUN }
    }
}

impl From<launch::Error> for Refusal {
    fn from(error: launch::Error) -> Self {
        Self {
            why: chain(&error),
            code: error.shell_code(),
        }
    }
}
