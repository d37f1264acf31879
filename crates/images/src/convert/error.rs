//! Why an image could not be converted.

use std::io;

use crate::layer::LayerError;
use crate::tar::{self, Name, TarError};
use crate::task::Cancelled;

/// Why an image could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The archive's entry of this name cannot be followed.
    #[error("layer {layer}: {path}: {problem}")]
    Entry {
        layer: usize,
        path: Name,
        problem: Problem,
    },
    #[error("layer {layer}: its archive cannot be read")]
    Archive { layer: usize, source: TarError },
    #[error("layer {layer} is not what it must be")]
    Layer { layer: usize, source: LayerError },
    #[error("the image has more {what} than the {limit} that the limit `{name}` allows")]
    Limit {
        what: &'static str,
        limit: u64,
        name: &'static str,
    },
    #[error("the root file system cannot be written: the disk is full, or this user's share of it")]
    Full(#[source] io::Error),
    #[error("the root file system cannot be written")]
    Io(#[source] io::Error),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl ConvertError {
    /// The limit that was in the way, by the name that it is set by ([`Limits`](super::Limits)).
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Limit { name, .. } => Some(name),
            Self::Layer { source, .. } => source.limit(),
            Self::Archive { source, .. } => source.limit(),
            Self::Entry {
                problem: Problem::Depth,
                ..
            } => Some("depth"),
            _ => None,
        }
    }

    /// Why a layer's archive cannot be read: where it is the layer itself that is at fault, that alone is said.
    pub(super) fn archive(layer: usize, source: TarError) -> Self {
        match source.problem {
            tar::Problem::Io(error) => match error.downcast::<LayerError>() {
                Ok(source) => Self::Layer { layer, source },
                Err(error) => Self::Archive {
                    layer,
                    source: TarError {
                        problem: tar::Problem::Io(error),
                        ..source
                    },
                },
            },
            _ => Self::Archive { layer, source },
        }
    }
}

impl From<io::Error> for ConvertError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("follows more symbolic links than are followed")]
    Loop,
    #[error("folders lie deeper within one another than the limit `depth` allows")]
    Depth,
    #[error("has a name of more than 255 bytes")]
    Name,
    #[error("would replace the root folder by something else")]
    Root,
    #[error("is a whiteout without a name")]
    Whiteout,
    #[error("is a hard link to what is not there")]
    LinkTarget,
    #[error("is a hard link to a folder")]
    LinkToDirectory,
    #[error("is one hard link more than ext4 can count (65,000)")]
    Links,
    #[error("is a symbolic link with a target that is empty or of more than 4,095 bytes")]
    Target,
    #[error("is a device of a number that Linux has not (major up to 4,095, minor up to 1,048,575)")]
    Device,
    #[error("has data out of order")]
    Order,
    #[error("has an access control list that is none")]
    Acl,
    #[error("has more extended attributes than fit beside a file (about 4 KiB of names)")]
    Xattrs,
}
