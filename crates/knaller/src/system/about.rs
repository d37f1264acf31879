//! What this host has for machines.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::knaller::Inner;
use crate::programs::version;
use crate::vmm::{self, kvm};
use crate::{Options, Result, Vmm, cgroup, doctor, memory, task};

/// A program that machines need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Found {
    pub name: String,
    /// None where it was not found.
    pub path: Option<PathBuf>,
    /// As it says it itself. None for those that do not.
    pub version: Option<String>,
}

/// Whether this host lets machines have something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Possible {
    pub possible: bool,
    /// Why not, where it is not.
    pub reason: Option<String>,
}

impl Possible {
    fn new(obstacle: Option<String>) -> Self {
        Self {
            possible: obstacle.is_none(),
            reason: obstacle,
        }
    }
}

/// What this host has for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct About {
    /// This library's.
    pub version: String,
    /// Of the dialogue with guests.
    pub guest_protocol: u16,
    /// What runs machines that ask for no VMM, and why; or why nothing can.
    pub vmm: String,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// Why the host's processors run no guests by themselves, where they do not.
    pub emulated_because: Option<String>,
    pub programs: Vec<Found>,
    pub data: PathBuf,
    pub runtime: PathBuf,
    /// The host's processors that this process may use, and memory, in MiB, that is free for machines.
    pub cpus: usize,
    pub memory_available_mib: Option<u64>,
    /// Whether machines can be limited.
    pub limits: Possible,
    /// The control group below which they are.
    pub cgroup: Option<PathBuf>,
    /// Whether machines can have the network mode `direct` here; if not: who must start them, what is missing, or which rules
    /// of this host's stand in the way.
    pub direct: Possible,
    /// How many files this process may have open. None: as many as it likes.
    pub open_files: Option<u64>,
    /// What an image may have, as `KNALLER_IMAGE_LIMITS` takes it.
    pub image_limits: String,
}

pub(crate) async fn about(inner: &Arc<Inner>) -> Result<About> {
    let inner = Arc::clone(inner);
    task::blocking(move |_| {
        let options = &inner.options;
        let (vmm, emulated) = match vmm::choose(Vmm::Auto, options) {
            Ok(chosen) => (
                format!("{}, since {}", chosen.name, chosen.reason),
                chosen.qemu.is_some(),
            ),
            Err(error) => (error.to_string(), true),
        };
        let kvm = kvm::usable();
        let (cgroup, unlimited) = match cgroup::for_all_limits(options) {
            Ok(group) => (Some(group), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let found = |name: &str, path: Result<PathBuf>, tells: bool| {
            let path = path.ok();
            Found {
                name: name.to_owned(),
                version: path.as_deref().filter(|_| tells).and_then(version),
                path,
            }
        };
        let mut programs = vec![
            found("firecracker", options.firecracker(), true),
            found("sparkler", options.sparkler(), true),
        ];
        if emulated {
            programs.push(found("qemu", options.qemu(), true));
        }
        programs.extend([
            found("pasta", options.pasta(), true),
            found("nft", options.nft(), true),
            found("knaller-netns", options.netns(), false),
            found("powerunit", options.powerunit(), false),
        ]);
        Ok(About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            guest_protocol: guest_protocol::VERSION,
            vmm,
            accelerator: if kvm.is_ok() { "kvm" } else { "tcg" }.to_owned(),
            emulated_because: kvm.err().map(|why| why.to_string()),
            programs,
            data: options.paths.data.clone(),
            runtime: options.paths.runtime.clone(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_available_mib: memory::available_mib(),
            limits: Possible::new(unlimited),
            cgroup,
            direct: Possible::new(obstacle_to_direct(options)),
            open_files: getrlimit(Resource::Nofile).current,
            image_limits: options.image_limits.to_string(),
        })
    })
    .await
}

fn obstacle_to_direct(options: &Options) -> Option<String> {
    doctor::try_direct(options).unwrap_or_else(|error| {
        Some(match error.hint() {
            Some(hint) => format!("{}: {hint}", error.headline()),
            None => error.headline(),
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::{Knaller, Options, Paths};

    #[tokio::test]
    async fn programs_are_asked_for_their_versions() {
        let temp = tempfile::tempdir().unwrap();
        // Any program that has a version.
        let program = temp.path().join("pasta");
        std::os::unix::fs::symlink("/usr/bin/env", &program).unwrap();
        let mut options = Options::new(Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        });
        options.search_path = temp.path().into();
        let about = Knaller::open(options).unwrap().about().await.unwrap();
        let found = |name: &str| about.programs.iter().find(|found| found.name == name).unwrap();
        let version = found("pasta").version.clone().unwrap();
        assert!(version.starts_with("env "), "{version}");
        assert_eq!(found("pasta").path.as_deref(), Some(&*program));
        assert_eq!(
            (&found("firecracker").path, &found("firecracker").version),
            (&None, &None)
        );
        assert!(
            about.cpus > 0 && about.image_limits.contains("total="),
            "{about:?}"
        );
        // Without the programs it needs there is none, for root neither.
        assert!(!about.direct.possible);
        let without = about.direct.reason.unwrap();
        let lacks = if rustix::process::geteuid().is_root() {
            "was not found"
        } else {
            "only root"
        };
        assert!(without.contains(lacks), "{without}");
        assert_eq!(about.accelerator == "tcg", about.emulated_because.is_some());
    }
}
