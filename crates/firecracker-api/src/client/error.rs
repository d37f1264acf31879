use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, Uri};

/// Why a request got no good answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody was reached; nothing was asked.
    #[error("cannot connect to the API socket {}: {kind}", .socket.display())]
    Connect {
        /// The socket's path.
        socket: PathBuf,
        /// What to make of it.
        kind: ConnectFailure,
        /// The system's word.
        source: io::Error,
    },
    /// The answer did not come in time. The server may have done what it was asked.
    #[error("{operation}: no answer within {} ms", .after.as_millis())]
    Timeout {
        /// What was asked.
        operation: Operation,
        /// The time it had.
        after: Duration,
    },
    /// The server refused.
    #[error("{operation}: {message} (status {status})")]
    Fault {
        /// What was asked.
        operation: Operation,
        /// The HTTP status: 400 mostly.
        status: u16,
        /// The server's `fault_message`.
        message: String,
    },
    /// The connection ended before the answer was there. The server may have done what it was asked.
    #[error("{operation}: the connection ended before the answer was there")]
    Interrupted {
        /// What was asked.
        operation: Operation,
        /// How it ended.
        source: hyper::Error,
    },
    /// The answer is not what this operation answers.
    #[error("{operation}: the answer cannot be understood")]
    UnexpectedBody {
        /// What was asked.
        operation: Operation,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// The answer is larger than [`ClientOptions::max_answer`](super::ClientOptions::max_answer).
    #[error("{operation}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was asked.
        operation: Operation,
        /// The limit in bytes.
        limit: usize,
    },
    /// An id cannot stand in a path: it is empty or has other characters than letters, digits and `_`.
    #[error("{0:?} is no id: letters, digits and underscores are wanted")]
    InvalidId(String),
    /// The request cannot be written down, for instance a path that is not UTF-8.
    #[error("{operation}: the request cannot be written as JSON")]
    Unwritable {
        /// What should have been asked.
        operation: Operation,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Error {
    /// The server's words, if it answered with a fault.
    #[must_use]
    pub fn fault_message(&self) -> Option<&str> {
        match self {
            Self::Fault { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Whether nobody serves the socket: it is not there, or a server that is gone has left it.
    #[must_use]
    pub fn nobody_serves(&self) -> bool {
        matches!(
            self,
            Self::Connect {
                kind: ConnectFailure::NotThere | ConnectFailure::Refused,
                ..
            }
        )
    }
}

/// Why a socket could not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// There is no such path.
    NotThere,
    /// The socket is there and nobody listens: its server is gone.
    Refused,
    /// Too many wait to be served already.
    Busy,
    /// The path is longer than a socket's address can be (107 bytes).
    PathTooLong,
    /// The path, or one of its folders, may not be used by this user.
    Forbidden,
    /// Something else; see the source.
    Other,
}

impl From<&io::Error> for ConnectFailure {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotThere,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::WouldBlock => Self::Busy,
            io::ErrorKind::InvalidInput => Self::PathTooLong,
            io::ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotThere => "it does not exist",
            Self::Refused => "nobody listens on it",
            Self::Busy => "too many connections wait for the server",
            Self::PathTooLong => "its path is longer than 107 bytes",
            Self::Forbidden => "permission denied",
            Self::Other => "the system refuses",
        })
    }
}

/// Method and path of a request. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation(Arc<(Method, Uri)>);

impl Operation {
    pub(super) fn new(method: Method, path: Uri) -> Self {
        Self(Arc::new((method, path)))
    }

    /// The HTTP method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.0.0
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Uri {
        &self.0.1
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method(), self.path())
    }
}
