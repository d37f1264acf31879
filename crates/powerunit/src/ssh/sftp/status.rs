//! How requests end, section 7 of the draft.

use std::io;

use rustix::io::Errno;

use crate::ssh::protocol::wire::Malformed;

/// The codes of version 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

/// A code, and a text that some clients show.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) code: Code,
    pub(super) text: String,
}

impl Status {
    pub(super) fn new(code: Code, text: &str) -> Self {
        Self {
            code,
            text: text.to_owned(),
        }
    }

    pub(super) fn eof() -> Self {
        Self::new(Code::Eof, "end of file")
    }
}

/// As OpenSSH's server translates, on which clients rely.
impl From<Errno> for Status {
    fn from(error: Errno) -> Self {
        let code = match error {
            Errno::NOENT | Errno::BADF | Errno::LOOP => Code::NoSuchFile,
            Errno::PERM | Errno::ACCESS | Errno::FAULT => Code::PermissionDenied,
            Errno::NAMETOOLONG | Errno::INVAL => Code::BadMessage,
            Errno::NOSYS => Code::Unsupported,
            _ => Code::Failure,
        };
        Self::new(code, &io::Error::from(error).to_string())
    }
}

impl From<io::Error> for Status {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::new(Code::Failure, &error.to_string()),
        }
    }
}

impl From<Malformed> for Status {
    fn from(error: Malformed) -> Self {
        Self::new(Code::BadMessage, &error.to_string())
    }
}
