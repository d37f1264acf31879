//! Taking a snapshot of a machine that runs.
//!
//! ```text
//! guest: freeze ─ VMM: pause ─ state, memory, disks ─ VMM: resume ─ guest: thaw ─ checksums, name
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firecracker_api::Client;
use firecracker_api::models::{SnapshotCreateParams, SnapshotType};
use images::rootfs::Rootfs;

use super::archive;
use super::checksum;
use super::description::{BaseFile, Description, Kept};
use super::frozen::Frozen;
use super::pause::Pause;
use super::restore::{Clone, clone_of};
use super::store::{Fresh, SnapshotInfo, Snapshots};
use crate::claim::Claim;
use crate::handover::{self, MEMORY, STATE};
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::record::Record;
use crate::start::{self, StartEvent, StartOptions};
use crate::{
    Error, Machine, Name, RestoreSpec, Result, State, StopOptions, Timeline, heal, holes, list, stop, task,
    template, volume,
};

/// How long the VMM may take to write a guest's memory.
const WRITING: Duration = Duration::from_secs(600);

/// How a snapshot is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// The machine's name and a number, if none.
    pub name: Option<Name>,
    /// Whether the machine is stopped afterwards.
    pub stop: bool,
}

/// A snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    pub info: SnapshotInfo,
    /// How long the machine stood still.
    pub paused: Duration,
    /// What of the guest could not be made to stand still: a sentence each.
    pub warnings: Vec<String>,
}

pub(crate) async fn take(inner: &Arc<Inner>, machine: &Name, options: SnapshotOptions) -> Result<Taken> {
    heal::one(inner, machine).await?;
    let claim = claim(inner, machine).await?;
    let (files, record) = list::load(inner, machine)?;
    let paths = inner.options.paths.clone();
    let wanted = options.name.clone();
    let of = machine.clone();
    let (name, fresh) = task::blocking(move |_| {
        let snapshots = Snapshots::open(&paths)?;
        let name = match wanted {
            Some(name) => name,
            None => snapshots.unused(&of)?,
        };
        let fresh = snapshots.fresh(&name)?;
        Ok((name, fresh))
    })
    .await?;
    let captured = capture(inner, &files, &record, &fresh, name).await?;
    let Captured {
        mut description,
        paused,
        warnings,
    } = captured;
    let info = task::blocking(move |_| {
        for name in fresh.files()? {
            let path = fresh.folder().join(&name);
            let failed = || Error::io("read", &path);
            let kept = Kept {
                size: path.metadata().map_err(failed())?.len(),
                checksum: checksum::of(&path).map_err(failed())?,
            };
            description.files.insert(name, kept);
        }
        fresh.finish(&description)
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
    let captured = capture(inner, &files, &record, &fresh, machine.clone()).await?;
    drop(claim);
    let held = Arc::new(fresh.held(captured.description));
    let clones: Vec<Clone> = specs.into_iter().map(|spec| clone_of(&held, spec)).collect();
    start::clones(inner, clones, options, observer).await
}

async fn claim(inner: &Arc<Inner>, machine: &Name) -> Result<Claim> {
    let files = layout::files(&inner.options.paths, machine);
    Claim::take(&files, machine).await
}

/// What was written into a fresh folder.
struct Captured {
    description: Description,
    paused: Duration,
    warnings: Vec<String>,
}

async fn capture(
    inner: &Arc<Inner>,
    files: &Files,
    record: &Record,
    fresh: &Fresh,
    name: Name,
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
    now.spec.cpus = size.vcpu_count;
    now.spec.memory_mib = u32::try_from(size.mem_size_mib).unwrap_or(u32::MAX);
    now.spec.limits.fit(now.spec.memory_mib);
    let mut description = Description::new(name, now, instance.vmm_version, cpu);
    let frozen = Frozen::begin(client.clone(), files, record).await?;
    let warnings = frozen.warnings.clone();
    let pause = Pause::begin(&client, files, &record.vmm).await?;
    handover::clear(files)?;
    let folder = record.handover(files);
    let params = SnapshotCreateParams {
        snapshot_type: SnapshotType::Full,
        snapshot_path: folder.join(STATE),
        mem_file_path: folder.join(MEMORY),
    };
    let written = client.put_snapshot_create(&params).await.map_err(refused);
    let (own, to) = (files.clone(), fresh.folder().to_owned());
    let taken = match written {
        Ok(()) => task::blocking(move |_| handover::take(&own, &to)).await,
        Err(error) => Err(error),
    };
    if taken.is_err() {
        // Half a guest takes room that the machine may need.
        handover::clear(files)?;
    }
    taken?;
    copy_disks(inner, files, record, fresh).await?;
    let paused = pause.end(&client, &record.vmm).await?;
    frozen.end().await?;
    if record.image.is_some() {
        let (options, record) = (inner.options.clone(), record.clone());
        description.base = task::blocking(move |task| {
            let path = archive::base_of(&options, &record, task)?;
            let file = template::Program::at(&path).map_err(Error::io("look at", &path))?;
            Ok(Some(BaseFile { file, checksum: None }))
        })
        .await?;
    }
    description.paused_ms = u64::try_from(paused.as_millis()).unwrap_or(u64::MAX);
    let memory = fresh.folder().join(MEMORY);
    task::blocking(move |_| {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&memory);
        file.and_then(|file| holes::dig(&file))
            .map_err(Error::io("make room in", &memory))
    })
    .await?;
    Ok(Captured {
        description,
        paused,
        warnings,
    })
}

/// Copies every disk that the machine could have written to: by reflinks where there are any, else all but the holes.
async fn copy_disks(inner: &Arc<Inner>, files: &Files, record: &Record, fresh: &Fresh) -> Result<()> {
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
            Rootfs::open(&path)?.copy_to(&folder.join(name), task)?;
        }
        Ok(())
    })
    .await
}
