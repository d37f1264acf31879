//! The images of one user: `images` in the data folder.
//!
//! The invariant: what lies under `blobs` has the digest that its name says and was on the disk whole before it got the name;
//! an image is in `index.json` only when all its blobs are there. The store is an OCI image layout, so any tool that reads one
//! reads this one. Beside the layout's own files:
//!
//! - `ingest/ALGORITHM-HEX.part`: a blob that is coming in, locked by who brings it. The next who wants that blob waits, and
//!   finds it; where a download broke, the part stays for a day and is gone on with.
//! - `rootfs/HEX-FORM.ext4`: the root file system made of the layers with the chain id HEX, by the converter's form FORM.
//! - `lock`: shared by those who add, exclusive for who removes what nothing refers to. So nothing is removed between coming
//!   in and being referred to. `index.lock`: held while `index.json` is replaced.

mod adding;
mod blobs;
mod collect;
mod compose;
mod error;
mod history;
mod image;
mod index;
mod ingest;
mod listing;
mod remove;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};

pub use adding::Adding;
pub use collect::{Collected, Prune};
pub use compose::{LayerWriter, NewLayer, Origin};
pub use error::StoreError;
pub use history::Step;
pub use image::Image;
pub use ingest::BlobWriter;
pub use listing::{Listed, Sizes};
pub use remove::Removed;
pub use rootfs::Rootfs;

use crate::files::{ReadError, private_folder, read, replace};
use crate::oci::Algorithm;

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const INGEST: &str = "ingest";
const ROOTFS: &str = "rootfs";
const BLOBS: &str = "blobs";

/// The only version of the layout there is (OCI image specification, `image-layout.md`).
const LAYOUT_VERSION: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";
const MAX_LAYOUT: u64 = 4096;

/// The store in a user's data folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store in the folder `data`, making both where they are missing.
    ///
    /// # Errors
    /// They cannot be made, belong to somebody else or can be written to by others, or what lies there is no store.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        private_folder(data)?;
        let root = data.join("images");
        for folder in [
            root.clone(),
            root.join(BLOBS),
            root.join(BLOBS).join(Algorithm::Sha256.as_str()),
            root.join(BLOBS).join(Algorithm::Sha512.as_str()),
            root.join(INGEST),
            root.join(ROOTFS),
        ] {
            private_folder(&folder)?;
        }
        let store = Self { root };
        store.check_layout()?;
        Ok(store)
    }

    /// The layout's folder, for tools that read one.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    fn check_layout(&self) -> Result<(), StoreError> {
        let path = self.root.join(LAYOUT);
        let bytes = match read(&path, MAX_LAYOUT) {
            Err(error) if error.is_absence() => {
                replace(&self.root, LAYOUT, LAYOUT_VERSION.as_bytes())?;
                LAYOUT_VERSION.into()
            }
            bytes => bytes?,
        };
        let layout: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let version = layout
            .as_ref()
            .and_then(|layout| layout.get("imageLayoutVersion"));
        if version.and_then(serde_json::Value::as_str) == Some("1.0.0") {
            Ok(())
        } else {
            Err(StoreError::Layout { path, source: None })
        }
    }

    /// The names in one of the store's folders. What goes while they are listed may be missing.
    fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let path = self.root.join(folder);
        let broken = |source| ReadError::Io {
            path: path.clone(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(broken)? {
            // A name that is no text is none of ours.
            names.extend(entry.map_err(broken)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
pub(crate) mod tests;
