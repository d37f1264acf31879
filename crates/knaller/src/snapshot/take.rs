//! Taking a snapshot of a machine that runs.
//!
//! ```text
//! guest: freeze ─ VMM: pause ─ state, memory, disks ─ VMM: resume ─ guest: thaw ─ (comparison with the parent) ─ checksums, name
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firecracker_api::Client;
use firecracker_api::models::{SnapshotCreateParams, SnapshotType};
use images::rootfs::Rootfs;

use super::archive;
use super::baseline::{self, Baseline};
use super::description::{BaseFile, Description, Written};
use super::difference;
use super::frozen::Frozen;
use super::layers::Among;
use super::pause::Pause;
use super::restore::{Clone, clone_of};
use super::store::{Fresh, Held, SnapshotInfo, Snapshots};
use crate::claim::Claim;
use crate::handover::{self, Guest, MEMORY, STATE};
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::record::Record;
use crate::sealed::seal;
use crate::start::{self, StartEvent, StartOptions};
use crate::{
    Error, Machine, Name, Paths, RestoreSpec, Result, State, StopOptions, Timeline, heal, holes, list, stop,
    task, template, volume,
};

/// How long the VMM may take to write a guest's memory.
const WRITING: Duration = Duration::from_secs(600);

/// How a snapshot is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// The machine's name and a number, if none.
    pub name: Option<Name>,
    /// Whether it is to have no more than what changed since the machine's last snapshot of this boot, or the one that
    /// it was made of, on which it builds then. Where there is none any more it is a whole one, which is told.
    pub diff: bool,
    /// Whether the machine is stopped in order afterwards; what its guest does until then is not in the snapshot.
    pub stop: bool,
}

/// A snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    pub info: SnapshotInfo,
    /// How long the machine stood still.
    pub paused: Duration,
    /// What of the guest could not be made to stand still, and why all of it is kept where a difference was asked for: a
    /// sentence each.
    pub warnings: Vec<String>,
}

pub(crate) async fn take(inner: &Arc<Inner>, machine: &Name, options: SnapshotOptions) -> Result<Taken> {
    heal::one(inner, machine).await?;
    let claim = claim(inner, machine).await?;
    let (files, record) = list::load(inner, machine)?;
    let paths = inner.options.paths.clone();
    let wanted = options.name.clone();
    let of = machine.clone();
    let baseline = options.diff.then(|| Baseline::of(&files, &record)).transpose()?;
    let (name, fresh, below) = task::blocking(move |_| {
        let snapshots = Snapshots::open(&paths)?;
        let below = match baseline {
            Some(Ok(baseline)) => Some(Below::find(&snapshots, &of, &baseline)?),
            Some(Err(why)) => Some(Err(why)),
            None => None,
        };
        let name = match wanted {
            Some(name) => name,
            None => snapshots.unused(&of)?,
        };
        let fresh = snapshots.fresh(&name)?;
        Ok((name, fresh, below))
    })
    .await?;
    let (below, groundless) = match below {
        Some(Ok(below)) => (Some(below), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    let captured = capture(inner, &files, &record, &fresh, name, below).await?;
    let Captured {
        mut description,
        paused,
        mut warnings,
        below,
    } = captured;
    warnings.extend(groundless.map(|why| format!("{why}: all of it is kept")));
    let info = task::blocking(move |_| {
        description.measure(fresh.folder(), fresh.files()?)?;
        let info = fresh.finish(&description)?;
        // Until it has its name, nobody removes what it builds on.
        drop(below);
        Baseline::new(&record, description.as_parent()?).save(&files)?;
        Ok(info)
    })
    .await?;
    drop(claim);
    if options.stop {
        stop::stop(inner, machine, StopOptions::default()).await?;
    }
    Ok(Taken {
        info,
        paused,
        warnings,
    })
}

/// Makes machines of one that runs, which goes on. Either all of them come up, or none is left.
pub(crate) async fn fork(
    inner: &Arc<Inner>,
    machine: &Name,
    specs: Vec<RestoreSpec>,
    options: StartOptions,
    observer: &mut (dyn FnMut(StartEvent) + Send),
) -> Result<Vec<(Machine, Timeline)>> {
    heal::one(inner, machine).await?;
    let claim = claim(inner, machine).await?;
    let (files, record) = list::load(inner, machine)?;
    let paths = inner.options.paths.clone();
    let fresh = task::blocking(move |_| Snapshots::open(&paths)?.nameless()).await?;
    let captured = capture(inner, &files, &record, &fresh, machine.clone(), None).await?;
    drop(claim);
    let held = Arc::new(fresh.held(captured.description));
    let clones: Vec<Clone> = specs.into_iter().map(|spec| clone_of(&held, spec)).collect();
    start::clones(inner, clones, options, observer).await
}

pub(super) async fn claim(inner: &Arc<Inner>, machine: &Name) -> Result<Claim> {
    let files = layout::files(&inner.options.paths, machine);
    Claim::take(&files, machine).await
}

/// What was written, and what is to be known of it.
pub(super) struct Captured {
    pub(super) description: Description,
    pub(super) paused: Duration,
    pub(super) warnings: Vec<String>,
    below: Option<Arc<Held>>,
}

/// What a difference is one to.
pub(super) struct Below {
    held: Arc<Held>,
    /// Whether the VMM's own account of what changed, if it has one, begins there.
    tracked: bool,
}

impl Below {
    /// Or why there is nothing: a sentence.
    fn find(
        snapshots: &Snapshots,
        machine: &Name,
        baseline: &Baseline,
    ) -> Result<std::result::Result<Self, String>> {
        match snapshots.to_build_on(machine, &baseline.parent) {
            Ok(held) => Ok(Ok(Self {
                held: Arc::new(held),
                tracked: baseline.tracked,
            })),
            Err(gone @ (Error::ParentMissing { .. } | Error::ParentChanged { .. })) => {
                Ok(Err(gone.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

async fn capture(
    inner: &Arc<Inner>,
    files: &Files,
    record: &Record,
    fresh: &Fresh,
    name: Name,
    below: Option<Below>,
) -> Result<Captured> {
    if let Some((path, false)) = volume::raw_root(&record.spec) {
        let (name, path) = (record.name.clone(), path.to_owned());
        return Err(Error::OwnersDisk { name, path });
    }
    let to = Guest::inside(fresh.folder());
    let parent = below.as_ref().map(|below| Arc::clone(&below.held));
    let copied = copy_disks(inner, files, record, fresh, parent);
    let mut captured = Box::pin(still(inner, files, record, name, &to, below, copied)).await?;
    if record.image.is_some() {
        let (options, record) = (inner.options.clone(), record.clone());
        captured.description.base = task::blocking(move |task| {
            let path = archive::base_of(&options, &record, task)?;
            let file = template::Program::at(&path).map_err(Error::io("look at", &path))?;
            Ok(Some(BaseFile { file, checksum: None }))
        })
        .await?;
    }
    Ok(captured)
}

/// Writes the guest's state and memory, and has its disks copied by `disks`: all in the one moment in which the machine
/// stands still.
pub(super) async fn still(
    inner: &Arc<Inner>,
    files: &Files,
    record: &Record,
    name: Name,
    to: &Guest,
    below: Option<Below>,
    disks: impl Future<Output = Result<()>>,
) -> Result<Captured> {
    let state = list::one(inner, &record.name).await?.state;
    if !matches!(state, State::Running | State::Paused) {
        return Err(Error::NotRunning(record.name.clone()));
    }
    let client = Client::new(files.api_socket()).with_timeout(WRITING);
    let refused = |error| Error::refused(&record.vmm, &error);
    let instance = client.get_instance().await.map_err(refused)?;
    let (cpu, _) = template::host().map_err(Error::system("look at the processor"))?;
    // The spec may name another size for the next start.
    let size = client.get_machine_config().await.map_err(refused)?;
    let mut now = record.clone();
    now.boots = None;
    now.spec.cpus = size.vcpu_count;
    now.spec.memory_mib = u32::try_from(size.mem_size_mib).unwrap_or(u32::MAX);
    now.spec.limits.fit(now.spec.memory_mib);
    let mut description = Description::new(name, now, instance.vmm_version, cpu);
    description.read = only_read(&inner.options.paths, record)?;
    let mut frozen = Frozen::begin(client.clone(), files, record).await?;
    let warnings = frozen.warnings.clone();
    description.generation_id = frozen.generation_id;
    // sparkler finds changes whether it was told to keep an account of them or not.
    let tracks = size.track_dirty_pages || record.vmm == "sparkler";
    let told = [files.handover(), folder_of(to)]
        .iter()
        .all(|folder| difference::tells_pages(folder));
    let among = match &below {
        Some(below) if below.tracked && tracks && told => Among::Written,
        _ => Among::All,
    };
    let below = below.map(|below| below.held);
    let pause = Pause::begin(&client, files, &record.vmm, frozen.mark()).await?;
    baseline::untrack(files)?;
    handover::offer(files)?;
    let folder = record.handover(files);
    let params = SnapshotCreateParams {
        snapshot_type: match among {
            Among::All => SnapshotType::Full,
            Among::Written => SnapshotType::Diff,
        },
        snapshot_path: folder.join(STATE),
        mem_file_path: folder.join(MEMORY),
    };
    let written = client.put_snapshot_create(&params).await;
    let written = written.map_err(|error| handover::explain(files, refused(error)));
    let (own, target) = (files.clone(), to.clone());
    let taken = match written {
        Ok(()) => task::blocking(move |_| handover::take_to(&own, &target)).await,
        Err(error) => Err(error),
    };
    if taken.is_err()
        // Half a guest takes room that the machine may need.
        && let Err(error) = handover::clear(files)
    {
        tracing::warn!(%error, "half a snapshot stays until the machine ends");
    }
    let copied = match taken {
        Ok(()) => disks.await,
        Err(error) => Err(error),
    };
    // In order, whatever became of the copies: a guest that finds its host gone waits before it goes on.
    let paused = pause.end(&client, &record.vmm).await?;
    frozen.end().await?;
    copied?;
    description.paused_ms = u64::try_from(paused.as_millis()).unwrap_or(u64::MAX);
    description.parent = below
        .as_ref()
        .map(|below| below.description.as_parent())
        .transpose()?;
    let (folder, to, parent) = (folder_of(to), to.clone(), below.clone());
    task::blocking(move |task| {
        let memory = match parent {
            Some(parent) => difference::of_memory(&folder, &parent, among, task)?,
            None => {
                dig(&to.memory)?;
                to.memory
            }
        };
        // The machine goes on, and its VMM with it: it is not to write into those that are made of this.
        seal(&to.state)?;
        seal(&memory)
    })
    .await?;
    Ok(Captured {
        description,
        paused,
        warnings,
        below,
    })
}

/// Where the memory is to be.
fn folder_of(to: &Guest) -> PathBuf {
    to.memory.parent().unwrap_or(Path::new("/")).to_owned()
}

fn dig(memory: &Path) -> Result<()> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(memory);
    file.and_then(|file| holes::dig(&file))
        .map_err(Error::io("make room in", memory))
}

/// Copies every disk that the machine could have written to: by reflinks where there are any, else all but the holes,
/// or what is not as it was in the snapshot that this one builds on.
async fn copy_disks(
    inner: &Arc<Inner>,
    files: &Files,
    record: &Record,
    fresh: &Fresh,
    below: Option<Arc<Held>>,
) -> Result<()> {
    let mut disks: Vec<(PathBuf, String)> = [files.overlay(), files.rootfs()]
        .into_iter()
        .filter(|path| path.exists())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((path, name))
        })
        .collect();
    for (number, volume) in record.spec.volumes.iter().enumerate() {
        if !volume.read_only {
            let path = volume::path(&inner.options.paths, &volume.source);
            disks.push((path, super::restore::volume_file(number)));
        }
    }
    let folder = fresh.folder().to_owned();
    task::blocking(move |task| {
        for (path, name) in disks {
            match &below {
                Some(below) => difference::of_disk(&path, &folder, &name, below, task)?,
                None => {
                    Rootfs::open(&path)?.copy_to(&folder.join(name), task)?;
                }
            }
        }
        Ok(())
    })
    .await
}

/// The disks of the volumes that the guest only reads, as they are now.
fn only_read(paths: &Paths, record: &Record) -> Result<BTreeMap<usize, Written>> {
    let volumes = record.spec.volumes.iter().enumerate();
    volumes
        .filter(|(_, volume)| volume.read_only)
        .map(|(number, volume)| {
            let path = volume::path(paths, &volume.source);
            let written = Written::at(&path).map_err(Error::io("look at", &path))?;
            Ok((number, written))
        })
        .collect()
}
