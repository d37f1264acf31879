//! Where a kernel comes from, and getting its files from there.

use std::path::{Path, PathBuf};

use super::import::ImportError;
use super::package;
use crate::files::{ReadError, read};
use crate::kernel::{Config, Limits, compare_versions, is_version};
use crate::modules::{ModuleFolder, Modules};
use crate::task::Task;

/// What to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A kernel that is installed below `root` (`/`): `boot/vmlinuz-VERSION` and `lib/modules/VERSION`. Without a version
    /// the newest one made for VMs (`…-cloud-…`), else the newest.
    Installed { version: Option<String>, root: PathBuf },
    /// A Debian package of a kernel, which need not be installed.
    Package(PathBuf),
    /// A kernel image of any form that [`crate::kernel::extract`] takes, with its `/lib/modules/VERSION` if it has modules, and
    /// its build configuration; without one, `config-VERSION` beside a `vmlinuz-VERSION` is taken.
    Image {
        kernel: PathBuf,
        modules: Option<PathBuf>,
        config: Option<PathBuf>,
    },
}

impl Source {
    /// The newest kernel installed on this machine.
    #[must_use]
    pub fn installed() -> Self {
        Self::Installed {
            version: None,
            root: "/".into(),
        }
    }
}

/// All that an import needs to know of a kernel.
pub(super) struct Gathered {
    pub(super) image: Vec<u8>,
    pub(super) config: Option<Config>,
    pub(super) modules: Modules,
    /// For people.
    pub(super) description: String,
}

/// Debian's have 0.2 MiB.
pub(super) const MAX_CONFIG: u64 = 4 << 20;

pub(super) fn gather(source: &Source, limits: &Limits, task: &Task) -> Result<Gathered, ImportError> {
    task.at("reading the kernel", 0, None)?;
    match source {
        Source::Installed { version, root } => {
            let version = match version {
                Some(version) => version.clone(),
                None => newest(root)?,
            };
            let modules = root.join("lib/modules").join(&version);
            let kernel = root.join("boot").join(format!("vmlinuz-{version}"));
            if !is_version(&version) || !kernel.exists() {
                return Err(ImportError::NotInstalled {
                    version,
                    boot: root.join("boot"),
                });
            }
            image(&kernel, Some(&modules).filter(|path| path.is_dir()), None, limits)
        }
        Source::Package(path) => package::gather(path, limits, task).map_err(|source| ImportError::Package {
            path: path.clone(),
            source,
        }),
        Source::Image {
            kernel,
            modules,
            config,
        } => image(kernel, modules.as_ref(), config.as_deref(), limits),
    }
}

fn image(
    kernel: &Path,
    modules: Option<&PathBuf>,
    config: Option<&Path>,
    limits: &Limits,
) -> Result<Gathered, ImportError> {
    let beside = beside(kernel).filter(|path| path.is_file());
    let config = config
        .or(beside.as_deref())
        .map(|path| read(path, MAX_CONFIG))
        .transpose()?;
    Ok(Gathered {
        image: read(kernel, limits.input)?,
        config: config.map(|bytes| Config::parse(&String::from_utf8_lossy(&bytes))),
        modules: match modules {
            Some(path) => Modules::Folder(ModuleFolder::open(path)?),
            None => Modules::None,
        },
        description: kernel.display().to_string(),
    })
}

/// `config-VERSION` in the folder of `vmlinuz-VERSION`.
pub(super) fn beside(kernel: &Path) -> Option<PathBuf> {
    let name = kernel.file_name()?.to_str()?;
    let version = name
        .strip_prefix("vmlinuz-")
        .or_else(|| name.strip_prefix("vmlinux-"))?;
    Some(kernel.with_file_name(format!("config-{version}")))
}

/// The version to take where none was asked for.
fn newest(root: &Path) -> Result<String, ImportError> {
    let boot = root.join("boot");
    let broken = |source| ReadError::new(&boot, source);
    let mut versions = Vec::new();
    for entry in std::fs::read_dir(&boot).map_err(broken)? {
        let name = entry.map_err(broken)?.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix("vmlinuz-"));
        versions.extend(
            version
                .filter(|version| is_version(version))
                .map(ToOwned::to_owned),
        );
    }
    let usable = |version: &String| root.join("lib/modules").join(version).is_dir();
    let rank = |version: &String| (usable(version), version.contains("-cloud-"));
    let best = versions
        .into_iter()
        .max_by(|a, b| rank(a).cmp(&rank(b)).then(compare_versions(a, b)));
    best.ok_or(ImportError::NoKernel { boot })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_newest_kernel_for_vms_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let boot = root.path().join("boot");
        fs::create_dir(&boot).unwrap();
        assert!(matches!(newest(root.path()), Err(ImportError::NoKernel { .. })));
        let install = |version: &str, modules: bool| {
            fs::write(boot.join(format!("vmlinuz-{version}")), "").unwrap();
            if modules {
                fs::create_dir_all(root.path().join("lib/modules").join(version)).unwrap();
            }
        };
        install("9.9.9-nomodules", false);
        fs::write(boot.join("vmlinuz-not a version"), "").unwrap();
        install("6.12.1-amd64", true);
        assert_eq!(newest(root.path()).unwrap(), "6.12.1-amd64");
        install("6.1.0-9-cloud-amd64", true);
        install("6.1.0-56-cloud-amd64", true);
        install("6.1.0-99-cloud-amd64", false);
        assert_eq!(newest(root.path()).unwrap(), "6.1.0-56-cloud-amd64");
    }

    #[test]
    fn a_version_that_is_not_installed_is_named() {
        for version in ["5.0", "../etc"] {
            let source = Source::Installed {
                version: Some(version.to_owned()),
                root: "/nowhere".into(),
            };
            let Err(error) = gather(&source, &Limits::default(), &Task::new()) else {
                panic!("gathered")
            };
            assert!(matches!(error, ImportError::NotInstalled { .. }), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_absence() {
        let temp = tempfile::tempdir().unwrap();
        let kernel = temp.path().join("vmlinux");
        fs::write(&kernel, "no kernel").unwrap();
        let nowhere = temp.path().join("nowhere");
        let image = |kernel: &Path, modules: Option<&PathBuf>, config: Option<&PathBuf>| Source::Image {
            kernel: kernel.to_owned(),
            modules: modules.cloned(),
            config: config.cloned(),
        };
        let absence = |source: &Source| {
            let Err(error) = gather(source, &Limits::default(), &Task::new()) else {
                panic!("gathered")
            };
            error.is_absence()
        };
        assert!(absence(&image(&nowhere, None, None)));
        assert!(absence(&image(&kernel, Some(&nowhere), None)));
        assert!(absence(&image(&kernel, None, Some(&nowhere))));
        assert!(absence(&Source::Package(nowhere)));
        assert!(!absence(&image(temp.path(), None, None)));
    }
}
