use std::fmt;
use std::io;

use crate::ext4::read::ReadError;
use crate::tar::Name;
use crate::task::Cancelled;

/// Which of the two disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Overlay,
    Base,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overlay => "the overlay disk",
            Self::Base => "the image's root file system",
        })
    }
}

/// Why there is no layer.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("{side} cannot be used")]
    Disk { side: Side, source: ReadError },
    #[error("{side} cannot be read")]
    Data { side: Side, source: io::Error },
    #[error("the overlay disk has no folder `upper`: no machine has started with it")]
    NoUpper,
    #[error("{path}: the overlay disk says that its data is in the image, which has none for it")]
    NoData { path: Name },
    #[error("{path}: in a layer this name would mean a removal: rename it in the machine")]
    Whiteout { path: Name },
    #[error("{path}: the overlay disk is damaged: this folder is in two places")]
    Twice { path: Name },
    #[error("the machine's {what} are more than the {limit} that the limit `{name}` allows")]
    Limit {
        what: &'static str,
        limit: u64,
        name: &'static str,
    },
    #[error("the layer cannot be written")]
    Write(#[source] io::Error),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
