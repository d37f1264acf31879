use std::fmt;
use std::io;

use crate::layer::LayerError;

/// Where a tar stream cannot be read; the source says why.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the tar stream at the header at byte {offset}{}", named(.entry.as_ref()))]
pub struct TarError {
    /// Where the header stands, in bytes from the stream's start.
    pub offset: u64,
    /// The entry's name, as far as it was known.
    pub entry: Option<Name>,
    #[source]
    pub problem: Problem,
}

impl TarError {
    /// The limit that was in the way, by the name that it is set by ([`Limits`](crate::convert::Limits)).
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match &self.problem {
            Problem::Io(error) => error.get_ref()?.downcast_ref::<LayerError>()?.limit(),
            Problem::TooMuch { bound, .. } => match bound {
                Bound::Path => Some("path"),
                Bound::XattrValue => Some("xattr"),
                _ => None,
            },
            _ => None,
        }
    }
}

fn named(entry: Option<&Name>) -> String {
    entry.map_or_else(String::new, |name| format!(", entry {name}"))
}

/// Bytes from the archive. They are printed quoted, with everything but plain ASCII escaped, and not at any length.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(pub Vec<u8>);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PRINTED: usize = 200;
        let shown = self.0.get(..PRINTED).unwrap_or(&self.0);
        let rest = if shown.len() < self.0.len() { "..." } else { "" };
        write!(f, "\"{}\"{rest}", shown.escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("the stream cannot be read")]
    Io(#[source] io::Error),
    #[error("the stream is cut off")]
    Truncated,
    #[error("the checksum is wrong: the stream is damaged, or it is no tar archive")]
    Checksum,
    #[error("a zero block stands alone: the stream is damaged")]
    LoneZeroBlock,
    #[error("{0} is out of range or no number")]
    Number(&'static str),
    #[error("the pax records are damaged")]
    Records,
    #[error("the pax record {0} is damaged")]
    Record(&'static str),
    #[error("a global pax header sets {0}, which only a single entry can have")]
    Global(&'static str),
    #[error("the character set {0} is not supported: UTF-8 and BINARY are")]
    Charset(Name),
    #[error("a link has no target")]
    NoTarget,
    #[error("an extension header is not followed by what it extends")]
    Dangling,
    #[error("the map of the sparse file is damaged, or does not fit its data")]
    SparseMap,
    #[error("the extended attribute {0} is damaged")]
    Xattr(Name),
    #[error("the ACL is damaged")]
    Acl,
    #[error("{0} are not supported")]
    Unsupported(&'static str),
    #[error("entries of type '{}' are not supported", .0.escape_ascii())]
    UnknownType(u8),
    #[error("{bound}: more than the {limit} allowed")]
    TooMuch { bound: Bound, limit: u64 },
    #[error("the stream was given up after an earlier error")]
    GivenUp,
}

/// Which of the [limits](super::Limits) is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Extension,
    Records,
    Path,
    Symlink,
    XattrName,
    XattrValue,
    Xattrs,
    Sparse,
    Headers,
    File,
    Total,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Extension => "bytes of an extension header",
            Self::Records => "records of a pax header",
            Self::Path => "bytes of a path",
            Self::Symlink => "bytes of a symbolic link's target",
            Self::XattrName => "bytes of an extended attribute's name",
            Self::XattrValue => "bytes of an extended attribute's value",
            Self::Xattrs => "bytes of an entry's extended attributes",
            Self::Sparse => "pieces of a sparse file",
            Self::Headers => "headers of the stream",
            Self::File => "bytes of a file",
            Self::Total => "bytes of the stream",
        })
    }
}

impl Bound {
    /// Refuses `value` where it exceeds `limit`.
    pub(super) fn check(self, value: u64, limit: u64) -> Result<(), Problem> {
        if value > limit {
            return Err(Problem::TooMuch { bound: self, limit });
        }
        Ok(())
    }

    pub(super) fn check_len(self, value: usize, limit: usize) -> Result<(), Problem> {
        self.check(value as u64, limit as u64)
    }
}
