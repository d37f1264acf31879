//! Errors of the crates below, as this one's: a full disk is the same wherever it was met, and what is only passed on
//! keeps its words.

use std::io;

use images::builtin::BuiltinError;
use images::files::{CopyError, StageError, TrustError};
use images::import::ImportError;
use images::overlay::OverlayError;
use images::raw_disk::RawDiskError;
use images::registry::{RegistryError, TransferError};
use images::rootfs::{GrowError, RootfsError};
use images::sparse_archive::ArchiveError;
use images::store::StoreError;
use images::{bundle, convert};

use super::Error;

impl From<TrustError> for Error {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Io { path, source } => Self::Io {
                action: "use",
                path,
                source,
            },
            other => Self::Untrusted(other),
        }
    }
}

impl From<StageError> for Error {
    fn from(error: StageError) -> Self {
        match error {
            // What there is to write is often not known, and what was written is gone again when this is said: no
            // figures.
            StageError::Full { path, .. } => Self::NoSpace { path },
            StageError::Io { path, source } => Self::Io {
                action: "write",
                path,
                source,
            },
        }
    }
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::File { action, path, source } => Self::Io { action, path, source },
            ArchiveError::NoRoom {
                folder,
                needed,
                available,
                ..
            } => Self::DiskFull {
                action: "unpacking the archive",
                path: folder,
                needed,
                available,
            },
            other => Self::SnapshotArchive(Box::new(other)),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stage(error) => error.into(),
            other => Self::Store(Box::new(other)),
        }
    }
}

impl From<bundle::StoreError> for Error {
    fn from(error: bundle::StoreError) -> Self {
        match error {
            bundle::StoreError::Empty => Self::NoKernel,
            bundle::StoreError::Unknown(what) => Self::UnknownKernel(what),
            other => Self::Kernel(Box::new(other)),
        }
    }
}

impl From<ImportError> for Error {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Store(error) => error.into(),
            ImportError::Refused(error) => match error.downcast::<convert::RootfsError>() {
                Ok(error) => (*error).into(),
                Err(error) => Self::Import(Box::new(ImportError::Refused(error))),
            },
            other => Self::Import(Box::new(other)),
        }
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Registry(error) => error.into(),
            TransferError::Store(error) => error.into(),
            TransferError::Refused(error) => match error.downcast::<convert::RootfsError>() {
                Ok(error) => (*error).into(),
                Err(error) => Self::system("take the image")(io::Error::other(error)),
            },
        }
    }
}

impl From<convert::RootfsError> for Error {
    fn from(error: convert::RootfsError) -> Self {
        match error {
            convert::RootfsError::Store(error) => error.into(),
            other => Self::Convert(Box::new(other)),
        }
    }
}

impl From<BuiltinError> for Error {
    fn from(error: BuiltinError) -> Self {
        match error {
            BuiltinError::Stage(error) => error.into(),
            other => Self::Builtin(Box::new(other)),
        }
    }
}

impl From<OverlayError> for Error {
    fn from(error: OverlayError) -> Self {
        match error {
            OverlayError::Stage(error) => error.into(),
            OverlayError::Copy(error) => error.into(),
            other => Self::Overlay(Box::new(other)),
        }
    }
}

impl From<CopyError> for Error {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Stage(error) => error.into(),
            other => Self::DiskCopy(Box::new(other)),
        }
    }
}

impl From<RootfsError> for Error {
    fn from(error: RootfsError) -> Self {
        Self::Rootfs(Box::new(error))
    }
}

impl From<RawDiskError> for Error {
    fn from(error: RawDiskError) -> Self {
        Self::RawDisk(Box::new(error))
    }
}

impl From<GrowError> for Error {
    fn from(error: GrowError) -> Self {
        match error {
            GrowError::Stage(error) => error.into(),
            other => Self::Grow(Box::new(other)),
        }
    }
}

impl Error {
    /// What a VMM answered instead of doing what it was asked.
    pub(crate) fn refused(vmm: &str, error: &firecracker_api::Error) -> Self {
        let said = error.fault_message();
        Self::VmmRefused {
            vmm: vmm.to_owned(),
            message: said.map_or_else(|| error.to_string(), str::to_owned),
        }
    }
}
