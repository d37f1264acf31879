//! What a start needs of the host, looked for before anything is made: programs, kernel, memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use images::bundle::{KernelStore, Source};

use super::given;
use crate::image::{self, Base};
use crate::knaller::Inner;
use crate::network::Connection;
use crate::vmm::{self, Chosen};
use crate::{Error, Kernel, MachineSpec, Options, Result, cgroup, memory, task};

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) vmm: Chosen,
    pub(super) kernel: PathBuf,
    pub(super) kernel_id: String,
    pub(super) initrd: PathBuf,
    pub(super) base: Option<Base>,
    /// Without forwards yet.
    pub(super) connection: Option<Connection>,
    /// Where the machine's control group is to be made, if it needs one.
    pub(super) cgroup: Option<cgroup::Place>,
    /// The helper, where the VMM is to be in a jail.
    pub(super) jail: Option<PathBuf>,
}

impl Means {
    /// `kept` is the base that the machine's disk belongs to, if it has been started before.
    pub(super) async fn gather(inner: &Arc<Inner>, spec: &MachineSpec, kept: Option<&str>) -> Result<Self> {
        let (options, spec) = (inner.options.clone(), spec.clone());
        let kept = kept.map(str::to_owned);
        task::blocking(move |task| {
            check_memory(spec.memory_mib)?;
            let cgroup = cgroup::Place::find(&options, &spec)?;
            let vmm = vmm::choose(spec.vmm, &options)?;
            let connection = Connection::find(&options, &spec)?;
            let powerunit = options.powerunit()?;
            let bundle = bundle(&options, &spec.kernel, task)?;
            let initrd = bundle
                .initrd(&powerunit)
                .map_err(|e| Error::Initrd(Box::new(e)))?;
            Ok(Self {
                vmm,
                kernel: bundle.vmlinux(),
                kernel_id: bundle.id().to_owned(),
                initrd,
                base: image::base(&options, &spec.root, kept.as_deref(), task)?,
                connection,
                cgroup,
                jail: spec.jail.then(|| options.netns()).transpose()?,
            })
        })
        .await
    }
}

fn bundle(options: &Options, kernel: &Kernel, task: &images::Task) -> Result<images::bundle::Bundle> {
    let store = KernelStore::open(&options.paths.data)?;
    Ok(match kernel {
        Kernel::Default => store.default_bundle(),
        Kernel::Id(id) => store.get(id),
        Kernel::Path(path) => {
            given::regular_file(path)?;
            // The same kernel is the same bundle: nothing is made twice.
            store.import(&source(path), task).map(|imported| imported.bundle)
        }
    }?)
}

/// What a path to a kernel stands for: a package, or an image with the modules that are installed for it.
fn source(path: &Path) -> Source {
    if path.extension().is_some_and(|ending| ending == "deb") {
        return Source::Package(path.to_owned());
    }
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let version = name
        .strip_prefix("vmlinuz-")
        .or_else(|| name.strip_prefix("vmlinux-"));
    let modules = version
        .map(|version| Path::new("/lib/modules").join(version))
        .filter(|path| path.is_dir());
    Source::Image {
        kernel: path.to_owned(),
        modules,
        config: None,
    }
}

/// Refuses what cannot come to a good end: a guest larger than what the host could give it now.
fn check_memory(wanted_mib: u32) -> Result<()> {
    let wanted_mib = u64::from(wanted_mib);
    match memory::available_mib() {
        Some(available_mib) if wanted_mib > available_mib => Err(Error::Memory {
            wanted_mib,
            available_mib,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_there_is() {
        let error = check_memory(u32::MAX).unwrap_err();
        assert!(matches!(error, Error::Memory { wanted_mib, .. } if wanted_mib == u64::from(u32::MAX)));
        check_memory(64).unwrap();
    }

    #[test]
    fn what_a_kernel_path_stands_for() {
        assert_eq!(
            source(Path::new("/x/linux.deb")),
            Source::Package("/x/linux.deb".into())
        );
        let image = Source::Image {
            kernel: "/x/vmlinuz-0.0.0".into(),
            modules: None,
            config: None,
        };
        assert_eq!(source(Path::new("/x/vmlinuz-0.0.0")), image);
    }
}
