//! The ways to a guest that waits for its config: booting it, booting it and keeping a template on the way, thawing one.
//!
//! The invariant: what a template holds is the same for every machine of its shape, so a guest on its way into one has
//! blank drives, and gets the machine's own when it has been kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use firecracker_api::Client;
use firecracker_api::models::{
    MemoryBackend, MemoryBackendType, PartialDrive, SnapshotCreateParams, SnapshotLoadParams, SnapshotType,
    VmState,
};
use guest_protocol::Interface;

use super::StartEvent;
use super::clock::Clock;
use super::configure::{BOOT_ARGS, DEVICES};
use super::disks::{self, Disk};
use super::guest;
use super::limits;
use super::means::Means;
use crate::handover::{self, MEMORY, STATE};
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::snapshot::Held;
use crate::template::{Drive, Found, Maker, Program, Shape, Template, Templates, host};
use crate::{Error, MachineSpec, Origin, Result, task};

/// How a guest comes to wait for its config.
#[derive(Debug)]
pub(super) enum Way {
    /// It boots.
    Cold,
    /// It boots, and is kept as a template before it goes on.
    Making(Maker),
    /// It was kept.
    Warm(Template),
    /// It is another machine's, from a snapshot.
    Restored(Arc<Held>, crate::MemoryBackend),
}

impl Way {
    /// The shortest way that there is for this machine. Why there is none but a cold one is only told to the log: a start is
    /// none the worse for it.
    pub(super) async fn find(
        inner: &Arc<Inner>,
        means: &Means,
        spec: &MachineSpec,
        clock: &Clock<'_>,
    ) -> Self {
        let shape = shape(means, spec);
        let paths = inner.options.paths.clone();
        let found = task::blocking(move |_| Templates::open(&paths)?.find(&shape?)).await;
        match found {
            Ok(Found::Template(template)) => Self::Warm(template),
            Ok(Found::Absent(maker)) => Self::Making(maker),
            Ok(Found::Spoilt(maker)) => {
                let message =
                    "somebody has written to the template of this shape since it was made; another is made"
                        .to_owned();
                clock.tell(StartEvent::Slower { message, class: None });
                Self::Making(maker)
            }
            Ok(Found::InTheMaking) => Self::Cold,
            Err(error) => {
                tracing::warn!(%error, "templates cannot be used");
                Self::Cold
            }
        }
    }

    pub(super) fn is_warm(&self) -> bool {
        matches!(self, Self::Warm(_))
    }

    /// What `inspect` calls it.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Cold | Self::Making(_) => Origin::Cold,
            Self::Warm(_) => Origin::Warm,
            Self::Restored(held, _) => held.origin(),
        }
    }
}

fn shape(means: &Means, spec: &MachineSpec) -> Result<Shape> {
    let failed = || Error::system("look at the programs of a machine");
    let (cpu, boot) = host().map_err(failed())?;
    let programs = [Some(&means.vmm.program), means.vmm.qemu.as_ref()];
    let programs = programs.into_iter().flatten().map(|path| Program::at(path));
    let initrd = means.initrd.file_name().unwrap_or_default();
    Ok(Shape {
        kernel: means.kernel_id.clone(),
        initrd: initrd.to_string_lossy().into_owned(),
        boot_args: BOOT_ARGS.to_owned(),
        vmm: means.vmm.name.to_owned(),
        programs: programs.collect::<std::io::Result<_>>().map_err(failed())?,
        cpus: spec.cpus,
        memory_mib: spec.memory_mib,
        drives: disks::layout(spec),
        interfaces: interfaces(means),
        metadata: spec.metadata.is_some(),
        devices: DEVICES,
        cpu,
        boot,
    })
}

/// What a guest is to have set up when it is kept.
pub(super) fn interfaces(means: &Means) -> Vec<Interface> {
    let connection = means.connection.as_ref();
    connection
        .map(|connection| guest::interface(connection.ipv6()))
        .into_iter()
        .collect()
}

/// The drives of a guest that is to be kept: blanks.
pub(super) fn blanks(files: &Files, spec: &MachineSpec) -> Result<Vec<Disk>> {
    let path = handover::blank(files)?;
    let blank = |drive: &Drive| Disk {
        id: drive.id.clone(),
        path: path.clone(),
        read_only: drive.read_only,
    };
    Ok(disks::layout(spec).iter().map(blank).collect())
}

/// Has the VMM write the guest, which is paused from here on, into its folder.
pub(super) async fn keep(client: &Client, folder: &Path) -> std::result::Result<(), firecracker_api::Error> {
    client.patch_vm(VmState::Paused).await?;
    let params = SnapshotCreateParams {
        snapshot_type: SnapshotType::Full,
        snapshot_path: folder.join(STATE),
        mem_file_path: folder.join(MEMORY),
    };
    client.put_snapshot_create(&params).await
}

/// A guest's memory in a file.
pub(super) fn in_file(memory: PathBuf) -> MemoryBackend {
    MemoryBackend {
        backend_path: memory,
        backend_type: MemoryBackendType::File,
    }
}

/// A guest's memory that is served by whoever listens there.
pub(super) fn served(socket: &Path) -> MemoryBackend {
    MemoryBackend {
        backend_path: socket.to_owned(),
        backend_type: MemoryBackendType::Uffd,
    }
}

/// Loads a guest, which is paused.
pub(super) async fn load(
    client: &Client,
    state: PathBuf,
    memory: MemoryBackend,
    track_dirty: bool,
) -> std::result::Result<(), firecracker_api::Error> {
    let params = SnapshotLoadParams {
        snapshot_path: state,
        mem_backend: Some(memory),
        // What every version from 1.10 on calls `track_dirty_pages`, which only those from 1.13 on know.
        enable_diff_snapshots: track_dirty,
        ..SnapshotLoadParams::default()
    };
    client.put_snapshot_load(&params).await
}

/// Puts the machine's own disks, which are linked, in the place of the blanks, and limits what it may take.
pub(super) async fn attach(
    client: &Client,
    disks: &[Disk],
    spec: &MachineSpec,
) -> std::result::Result<(), firecracker_api::Error> {
    for disk in disks {
        let drive = PartialDrive {
            drive_id: disk.id.clone(),
            path_on_host: Some(layout::drive(&disk.id)),
            ..PartialDrive::default()
        };
        client.patch_drive(&drive).await?;
    }
    limits::hold(client, spec).await?;
    if spec.limits.memory_target_mib.is_some() {
        // It waits for its config, so all of its drivers are loaded.
        limits::balloon(client, spec.limits.balloon_mib(spec.memory_mib)).await?;
    }
    Ok(())
}

/// Lets the guest go on.
pub(super) async fn resume(client: &Client) -> std::result::Result<(), firecracker_api::Error> {
    client.patch_vm(VmState::Resumed).await
}
