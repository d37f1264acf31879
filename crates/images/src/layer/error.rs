use std::io;

use super::Compression;
use crate::oci::Digest;

/// Why a layer cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("the layer cannot be read")]
    Read(#[source] io::Error),
    #[error("the layer's {kind} data is damaged, or needs more memory than is allowed for it")]
    Damaged { kind: Compression, source: io::Error },
    #[error("the layer is not the one that was asked for: its digest is {actual}, and not {expected}")]
    Digest { expected: Digest, actual: Digest },
    #[error(
        "the unpacked layer is not what the image's configuration names: its digest is {actual}, and not {expected}"
    )]
    DiffId { expected: Digest, actual: Digest },
    #[error("the layer is cut off: {actual} of {expected} bytes are there")]
    Short { expected: u64, actual: u64 },
    #[error("the layer is longer than the {limit} bytes that it may have")]
    Long { limit: u64 },
    #[error("the layer has more than the {limit} bytes allowed")]
    Total { limit: u64 },
    #[error("the layer unpacks to more than {ratio} times its size: it may be made to fill the disk")]
    Ratio { ratio: u64 },
    #[error("there can be no thread to unpack the layer in")]
    Thread(#[source] io::Error),
    #[error("the layer was given up after an earlier error")]
    GivenUp,
}

impl LayerError {
    /// The limit that was in the way, by the name that it is set by ([`Limits`](crate::convert::Limits)).
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Total { .. } => Some("total"),
            Self::Ratio { .. } => Some("ratio"),
            _ => None,
        }
    }
}
