use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::files::{ReadError, check_owner, read};
use crate::kernel::{Arch, Compression, Format};

pub(super) const VMLINUX: &str = "vmlinux";
pub(super) const MODULES: &str = "modules.cpio";
pub(super) const MANIFEST: &str = "bundle.json";

/// The form of a bundle, part of its id. A change in the form of what a bundle holds counts it up.
pub(super) const FORM: u32 = 1;

const MAX_MANIFEST: u64 = 1 << 20;

/// What is known of a bundle: `bundle.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    form: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// `uname -r` of the guest.
    pub version: String,
    pub arch: Arch,
    pub format: Format,
    /// Where it was imported from, for people.
    pub source: String,
    /// What the source was packed with.
    pub compression: Option<Compression>,
    pub imported: Timestamp,
    pub vmlinux: Part,
    pub modules_cpio: Part,
    /// The modules in load order. Empty where all that a guest needs is built in.
    pub modules: Vec<String>,
    pub features: Features,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// In bytes.
    pub size: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

/// What the kernel can do. `None`: the kernel came without its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Takes its addresses from `ip=` on the command line (`CONFIG_IP_PNP`).
    pub ip_pnp: Option<bool>,
    /// Has the entry point of a PVH boot, which QEMU needs for an ELF kernel.
    pub pvh: bool,
    /// Finds virtio-mmio devices through ACPI (`CONFIG_ACPI`).
    pub acpi: Option<bool>,
    /// Finds virtio-mmio devices by its command line (`CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES`).
    pub mmio_cmdline: Option<bool>,
    /// Virtio devices on PCI.
    pub virtio_pci: bool,
    /// Among ext4, overlay, squashfs and erofs, those it can mount.
    pub filesystems: Vec<String>,
}

/// Why a folder is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error(transparent)]
    Trust(#[from] crate::files::TrustError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{path} is damaged: remove the folder and import the kernel again")]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "{path} has the form {form}, and this program knows {FORM}: remove the folder and import the kernel again"
    )]
    Form { path: PathBuf, form: u32 },
    #[error("{path} is damaged ({what}): remove the folder and import the kernel again")]
    Content { path: PathBuf, what: String },
}

impl Manifest {
    #[expect(clippy::too_many_arguments, reason = "one for each thing an import finds out")]
    pub(super) fn new(
        version: String,
        arch: Arch,
        format: Format,
        source: String,
        compression: Option<Compression>,
        vmlinux: Part,
        modules_cpio: Part,
        modules: Vec<String>,
        features: Features,
    ) -> Self {
        let id = id(&vmlinux, &modules_cpio);
        let imported = Timestamp::now();
        Self {
            form: FORM,
            id,
            version,
            arch,
            format,
            source,
            compression,
            imported,
            vmlinux,
            modules_cpio,
            modules,
            features,
        }
    }

    /// Reads the manifest of the bundle in `folder` and checks it against the files there, as far as that is cheap: owner,
    /// name and sizes.
    pub(super) fn load(folder: &Path) -> Result<Self, ManifestError> {
        check_owner(folder)?;
        let path = folder.join(MANIFEST);
        let json = |source| ManifestError::Json {
            path: path.clone(),
            source,
        };
        let value: serde_json::Value = serde_json::from_slice(&read(&path, MAX_MANIFEST)?).map_err(json)?;
        // The form first: another one may lack or rename anything else.
        let form = value.get("form").and_then(serde_json::Value::as_u64);
        if form != Some(u64::from(FORM)) {
            let form = form.and_then(|form| u32::try_from(form).ok()).unwrap_or(0);
            return Err(ManifestError::Form { path, form });
        }
        let manifest: Self = serde_json::from_value(value).map_err(json)?;
        let content = |path: &Path, what: String| ManifestError::Content {
            path: path.to_owned(),
            what,
        };
        let named = folder.file_name().and_then(|name| name.to_str());
        if named != Some(&manifest.id) || manifest.id != id(&manifest.vmlinux, &manifest.modules_cpio) {
            return Err(content(&path, "it is not the manifest of this folder".into()));
        }
        for (name, part) in [(VMLINUX, &manifest.vmlinux), (MODULES, &manifest.modules_cpio)] {
            let path = folder.join(name);
            let size = path
                .metadata()
                .map_err(|source| ReadError::new(&path, source))?
                .len();
            if size != part.size {
                return Err(content(&path, format!("{size} bytes instead of {}", part.size)));
            }
        }
        Ok(manifest)
    }

    pub(super) fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        std::fs::write(path, json)
    }
}

fn id(vmlinux: &Part, modules_cpio: &Part) -> String {
    let text = format!(
        "kernel bundle {FORM}\n{}\n{}\n",
        vmlinux.sha256, modules_cpio.sha256
    );
    hex::encode(Sha256::digest(text))
}
