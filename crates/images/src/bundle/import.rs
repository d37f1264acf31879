//! From a source to the content of a bundle.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::manifest::{Features, MODULES, Manifest, Part, VMLINUX};
use super::modules_part::{self, Digesting};
use super::package::PackageError;
use super::source::{Gathered, Source, gather};
use crate::cpio::WriteError;
use crate::files::{ReadError, StageError};
use crate::kernel::{Arch, Config, ElfError, Kernel, KernelError, Limits, extract};
use crate::modules::{Feature, FolderError, Modules, NEEDS, Need, ResolveError, load_order, read_info};
use crate::task::{Cancelled, Task};

/// Why a kernel cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(
        "no kernel is installed in {boot}. Run: sudo apt-get install linux-image-cloud-amd64 (on arm64: linux-image-cloud-arm64)"
    )]
    NoKernel { boot: PathBuf },
    #[error("the kernel {version} is not installed: there is no vmlinuz-{version} in {boot}")]
    NotInstalled { version: String, boot: PathBuf },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{path} gives no kernel")]
    Package { path: PathBuf, source: PackageError },
    #[error("{source_name} is no kernel that can be used")]
    Kernel {
        source_name: String,
        source: KernelError,
    },
    #[error("the kernel is for {kernel}, and guests on this machine are {host}")]
    Arch { kernel: Arch, host: Arch },
    #[error("the kernel does not say its version: it holds no text \"Linux version …\"")]
    NoVersion,
    #[error(transparent)]
    Modules(#[from] FolderError),
    #[error("the modules of kernel {version} cannot be put in order")]
    Order { version: String, source: ResolveError },
    #[error("the module {module} is damaged")]
    Elf { module: String, source: ElfError },
    #[error(
        "the module {module} was built for kernel {release}, and this one is {version}: give the folder /lib/modules/{version}"
    )]
    Release {
        module: String,
        release: String,
        version: String,
    },
    #[error("kernel without virtio: {version} has no {}, neither built in nor as a module. Use a kernel made for virtual machines (Debian: linux-image-cloud-amd64), give the folder of its modules, or build it with {}", names(.missing), options(.missing))]
    NoVirtio {
        version: String,
        missing: Vec<&'static Need>,
    },
    #[error("kernel without vsock: {version} has no {}, neither built in nor as a module, and the guest gets its configuration over vsock. Use a kernel made for virtual machines (Debian: linux-image-cloud-amd64), give the folder of its modules, or build it with {}", names(.missing), options(.missing))]
    NoVsock {
        version: String,
        missing: Vec<&'static Need>,
    },
    #[error(
        "kernel without ext4: {version} cannot mount the disk of a VM. Give the folder of its modules, or build it with CONFIG_EXT4_FS"
    )]
    NoExt4 { version: String },
    #[error("the initramfs part cannot be written")]
    Cpio(#[from] WriteError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl ImportError {
    /// Whether what was to be imported, or a file that was named with it, is not there.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::NotInstalled { .. } => true,
            Self::Read(error)
            | Self::Modules(FolderError::Read(error))
            | Self::Package {
                source: PackageError::Read(error),
                ..
            } => error.is_absence(),
            Self::Modules(FolderError::List { source, .. }) => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether the task was called off, at whatever step.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Cancelled(_)
                | Self::Package {
                    source: PackageError::Deb(crate::deb::DebError::Cancelled(_)),
                    ..
                }
        )
    }
}

fn names(needs: &[&Need]) -> String {
    needs
        .iter()
        .map(|need| need.module)
        .collect::<Vec<_>>()
        .join(", ")
}

fn options(needs: &[&Need]) -> String {
    needs
        .iter()
        .map(|need| need.option)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Writes the content of a bundle for guests of `host` into the empty `folder`.
pub(super) fn build(
    source: &Source,
    host: Arch,
    folder: &Path,
    task: &Task,
) -> Result<Manifest, ImportError> {
    let limits = Limits::default();
    let Gathered {
        image,
        config,
        modules,
        description,
    } = gather(source, &limits, task)?;

    task.at("unpacking the kernel", 0, None)?;
    let bad = |source| ImportError::Kernel {
        source_name: description.clone(),
        source,
    };
    let kernel = extract(&image, &limits).map_err(bad)?;
    if kernel.arch != host {
        return Err(ImportError::Arch {
            kernel: kernel.arch,
            host,
        });
    }
    let version = kernel.version.clone().ok_or(ImportError::NoVersion)?;
    let config = config.or_else(|| kernel.config());

    let built_in = built_in(&kernel, config.as_ref(), &modules);
    let has = |need: &Need| built_in.contains(need.module) || modules.depends(need.module).is_some();
    check(&version, &has)?;
    let wanted = NEEDS.iter().map(|need| need.module);
    let wanted = wanted.filter(|name| !built_in.contains(*name) && modules.depends(name).is_some());
    let order = load_order(wanted, &|name| modules.depends(name), &built_in).map_err(|source| {
        ImportError::Order {
            version: version.clone(),
            source,
        }
    })?;

    task.at("writing the kernel", 0, None)?;
    let vmlinux = write_part(folder, VMLINUX, |out| {
        Ok(out.write_all(&kernel.bytes).map_err(WriteError::from)?)
    })?;
    let mut done = 0;
    let modules_cpio = write_part(folder, MODULES, |out| {
        modules_part::write(out, &order, |name| {
            task.at("packing the modules", done, Some(order.len() as u64))?;
            done += 1;
            module(&modules, name, &version)
        })
        .map(drop)
    })?;

    let manifest = Manifest::new(
        version,
        kernel.arch,
        kernel.format,
        description,
        kernel.compression,
        vmlinux,
        modules_cpio,
        order,
        features(&kernel, config.as_ref(), &has),
    );
    let path = folder.join(super::manifest::MANIFEST);
    manifest
        .save(&path)
        .map_err(|source| StageError::new(&path, 0, source))?;
    task.check()?;
    Ok(manifest)
}

/// The needs that are linked into the kernel: by the list beside its modules and by its configuration; where there is
/// neither, by what the drivers in the image call themselves.
fn built_in(kernel: &Kernel<'_>, config: Option<&Config>, modules: &Modules) -> BTreeSet<String> {
    let mut built_in = modules.built_in();
    let nothing_told = built_in.is_empty() && config.is_none();
    for need in NEEDS {
        let configured = config.is_some_and(|config| config.is_built_in(need.option));
        if configured || (nothing_told && kernel.has_driver(need.driver)) {
            built_in.insert(need.module.to_owned());
        }
    }
    built_in
}

fn check(version: &str, has: &dyn Fn(&Need) -> bool) -> Result<(), ImportError> {
    let missing = |feature| -> Vec<&'static Need> {
        NEEDS
            .iter()
            .filter(|need| need.feature == feature && !has(need))
            .collect()
    };
    let version = version.to_owned();
    let (virtio, vsock, ext4) = (
        missing(Feature::Virtio),
        missing(Feature::Vsock),
        missing(Feature::Ext4),
    );
    if !virtio.is_empty() {
        Err(ImportError::NoVirtio {
            version,
            missing: virtio,
        })
    } else if !vsock.is_empty() {
        Err(ImportError::NoVsock {
            version,
            missing: vsock,
        })
    } else if !ext4.is_empty() {
        Err(ImportError::NoExt4 { version })
    } else {
        Ok(())
    }
}

/// A module's bytes, after a look at which kernel they are for: one of another would be refused by the guest, one by one and
/// long after the import.
fn module(modules: &Modules, name: &str, version: &str) -> Result<Vec<u8>, ImportError> {
    let bytes = modules.read(name)?;
    let info = read_info(&bytes).map_err(|source| ImportError::Elf {
        module: name.to_owned(),
        source,
    })?;
    if info.release == version {
        return Ok(bytes);
    }
    Err(ImportError::Release {
        module: name.to_owned(),
        release: info.release,
        version: version.to_owned(),
    })
}

fn features(kernel: &Kernel<'_>, config: Option<&Config>, has: &dyn Fn(&Need) -> bool) -> Features {
    let built_in = |option| config.map(|config| config.is_built_in(option));
    let file_system = |need: &&Need| matches!(need.feature, Feature::Ext4 | Feature::FileSystem);
    let has_named = |name| NEEDS.iter().any(|need| need.module == name && has(need));
    Features {
        ip_pnp: built_in("CONFIG_IP_PNP"),
        pvh: kernel.pvh,
        acpi: built_in("CONFIG_ACPI"),
        mmio_cmdline: built_in("CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES"),
        virtio_pci: has_named("virtio_pci"),
        filesystems: NEEDS
            .iter()
            .filter(file_system)
            .filter(|need| has(need))
            .map(|need| need.module.to_owned())
            .collect(),
    }
}

/// Makes the file `name` in `folder`, digested as it is written.
fn write_part(
    folder: &Path,
    name: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ImportError>,
) -> Result<Part, ImportError> {
    let path = folder.join(name);
    let broken = |source: io::Error| StageError::new(&path, 0, source);
    let file = File::create_new(&path).map_err(broken)?;
    let mut out = Digesting::new(BufWriter::with_capacity(1 << 20, file));
    // A full disk is told as such, whatever was being written.
    write(&mut out).map_err(|error| match error {
        ImportError::Cpio(WriteError::Io(source)) => broken(source).into(),
        other => other,
    })?;
    out.flush().map_err(broken)?;
    Ok(out.finish().1)
}
