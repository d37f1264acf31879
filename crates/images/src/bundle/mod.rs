//! Kernel bundles: a kernel and the modules a guest needs of it, ready for a VMM.
//!
//! The invariant: a bundle never changes. Its id is the digest of what it holds, it appears whole (see `files`), and nothing
//! but caches is added to it later. So a VM may open its files at any time without a lock, and two importers of the
//! same kernel make the same bundle.
//!
//! ```text
//! kernels/ID/vmlinux        what the VMM boots
//!            modules.cpio   folders, /dev/console, /modules/*.ko, /modules/order
//!            bundle.json    what is known of it
//!            initrd-*.cpio  modules.cpio and powerunit; made when first asked for
//! kernels/names/NAME        links to bundles: `default` is the one taken when none is asked for
//! ```

mod import;
mod initrd;
mod known;
mod manifest;
mod modules_part;
mod package;
mod source;
mod store;

use std::path::{Path, PathBuf};

pub use import::ImportError;
pub use initrd::InitrdError;
pub use manifest::{Features, Manifest, ManifestError, Part};
pub use package::PackageError;
pub use source::Source;
pub use store::{Imported, KernelStore, StoreError};

/// A bundle in a store.
#[derive(Clone, Debug)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
}

impl Bundle {
    /// The digest of its content, 64 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.manifest.id
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kernel: an ELF file for x86_64 (with a PVH entry where [`Features::pvh`] says so), an ELF file or an `Image` for
    /// aarch64.
    #[must_use]
    pub fn vmlinux(&self) -> PathBuf {
        self.folder.join(manifest::VMLINUX)
    }
}
