use std::path::PathBuf;

use crate::files::{LockError, ReadError, StageError, TrustError};
use crate::oci::{ConfigError, Digest, DigestError, ManifestError, ReferenceError, WalkError};
use crate::task::Cancelled;

/// Why the store cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(
        "{path} is no store of this program or is damaged: move it away, and pull or import the images again"
    )]
    Layout {
        path: PathBuf,
        source: Option<ManifestError>,
    },
    #[error(
        "{path} has {size} bytes and should have {expected}, or another content: it was damaged. Pull or import the image again"
    )]
    Damaged { path: PathBuf, size: u64, expected: u64 },
    #[error("{digest} is not in the store: pull or import the image again")]
    Missing { digest: Digest },
    #[error("what came has the digest {found}, and {expected} was asked for: nothing of it is kept")]
    Mismatch { expected: Digest, found: Digest },
    #[error("{digest} should have {expected} bytes, and {found} came: nothing of it is kept")]
    Size {
        digest: Digest,
        expected: u64,
        found: u64,
    },
    #[error("the image's manifest cannot be used")]
    Manifest(#[from] WalkError),
    #[error("the image's configuration {digest} cannot be used")]
    Config { digest: Digest, source: ConfigError },
    #[error(
        "the image {digest} has {layers} layers, and its configuration names {diff_ids}: they do not belong together"
    )]
    Layers {
        digest: Digest,
        layers: usize,
        diff_ids: usize,
    },
    #[error("{0:?} is no name or id of an image")]
    Digest(String, #[source] DigestError),
    #[error(
        "there is no image {0:?}: `knaller image ls` lists those there are, `knaller image pull` gets others"
    )]
    Unknown(String),
    #[error("{what:?} stands for more than one image: {}", .ids.join(", "))]
    Ambiguous { what: String, ids: Vec<String> },
    #[error("the store has as many names as it can hold: remove some, or run: knaller image prune")]
    TooManyNames,
    #[error("the image {what} is in use by {}: remove that first", .users.join(", "))]
    InUse { what: String, users: Vec<String> },
    #[error("the image {what} has several names: {}. Remove them one by one", .names.join(", "))]
    SeveralNames { what: String, names: Vec<String> },
}

impl StoreError {
    /// Whether what was named is not there, or cannot be told from others: another name may help.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Ambiguous { .. })
    }

    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }
}

impl From<LockError> for StoreError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Stage(error) => Self::Stage(error),
            LockError::Cancelled(error) => Self::Cancelled(error),
        }
    }
}
