//! What a machine's init wrote, and none of its users: no part of an image.
//!
//! The invariant: a file is left out only while it is what the init made of the base's; with one byte more it is the user's.

use std::fmt;

/// Says by the text that the base has (an empty one where it has none) and the machine's whether the init wrote that.
pub type IsOwn = Box<dyn Fn(&str, &str) -> bool>;

/// A file that the init writes at each boot.
#[derive(Debug)]
pub struct Own {
    /// From the root: `/etc/hostname`.
    pub path: &'static str,
    pub contents: OwnContents,
}

pub enum OwnContents {
    Text(IsOwn),
    /// A symbolic link to this, made where the base has nothing.
    Link(&'static str),
}

impl fmt::Debug for OwnContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text"),
            Self::Link(target) => f.debug_tuple("Link").field(target).finish(),
        }
    }
}

impl Own {
    /// Whether `path`, without a leading `/`, is this one's.
    pub(super) fn is_at(&self, path: &[u8]) -> bool {
        self.path.trim_start_matches('/').as_bytes() == path
    }
}
