use std::io;

use crate::convert::RootfsError;
use crate::registry::RegistryError;
use crate::store::StoreError;

/// Why an image was not pulled or pushed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error("the work on the store ended early")]
    Thread(#[source] io::Error),
}
