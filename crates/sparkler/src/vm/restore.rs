//! `PUT /snapshot/load`.
//!
//! Invariant: a load that fails leaves the process as it was, without a machine: it can be tried again.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use firecracker_api::models::{FullVmConfiguration, MemoryBackendType, NetworkInterface, SnapshotHugePages};
use firecracker_api::server::{Fault, SnapshotLoad};
use rustix::fs::{MemfdFlags, memfd_create};

use super::Vm;
use super::faults::{not_supported, within};
use super::limits::{Direction, LimitError};
use super::resources::Resources;
use super::running::Running;
use super::start::{Origin, bring_up};
use crate::arch;
use crate::memory::Memory;
use crate::qemu::migratable::{self, Unfit};
use crate::qemu::qmp::QmpError;
use crate::qemu::qmp::command::{
    GetFd, MigrateIncoming, MigrateSetCapabilities, MigrationCapability, QueryVersion, VirtioQueueStatus,
};
use crate::qemu::remote::Remote;
use crate::snapshot::{Maker, State, StateError};
use crate::vsock::Hold;

/// Why a snapshot is not loaded (`LoadSnapshotError` in Firecracker's `rpc_interface.rs` and what is below it).
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("Loading a microVM snapshot not allowed after configuring boot-specific resources.")]
    Configured,
    #[error(
        "Failed to restore from snapshot: Failed to get snapshot state from file: Failed to open snapshot file: {0}"
    )]
    Open(#[source] io::Error),
    #[error(
        "Failed to restore from snapshot: Failed to get snapshot state from file: Failed to load snapshot state from \
         file: {0}"
    )]
    State(#[from] StateError),
    #[error(
        "Failed to restore from snapshot: Failed to get snapshot state from file: Unknown Network Device."
    )]
    UnknownNetwork,
    #[error("Failed to restore from snapshot: Failed to get snapshot state from file: Unknown Vsock Device.")]
    UnknownVsock,
    #[error(
        "Failed to restore from snapshot: Failed to load guest memory: Error creating guest memory from file: Failed to \
         load guest memory: {0}"
    )]
    Memory(#[source] io::Error),
    #[error(
        "Failed to restore from snapshot: Failed to load guest memory: Error creating guest memory from file: Cannot \
         restore hugetlbfs backed snapshot by mapping the memory file. Please use uffd."
    )]
    HugePages,
    #[error("Failed to restore from snapshot: Invalid snapshot state: it was made on {was}, this is {is}")]
    Maker { was: String, is: String },
    #[error("Failed to restore from snapshot: Failed to build microVM from snapshot: {0}")]
    Build(Fault),
    #[error("Failed to restore from snapshot: Failed to build microVM from snapshot: {0}")]
    Descriptors(#[source] io::Error),
    #[error(
        "Failed to restore from snapshot: Failed to build microVM from snapshot: Failed to restore devices: {0}"
    )]
    Qemu(#[from] QmpError),
    #[error(
        "Failed to restore from snapshot: Failed to build microVM from snapshot: Failed to restore devices: {0}"
    )]
    Complaints(String),
    #[error(
        "Failed to restore from snapshot: Failed to build microVM from snapshot: Failed to restore devices: the vsock \
         device: {0}"
    )]
    Vsock(#[from] Unfit),
    #[error(
        "Failed to restore from snapshot: Failed to build microVM from snapshot: Failed to restore devices: a limit of a \
         network interface: {0}"
    )]
    Limit(#[from] LimitError),
}

impl Vm {
    /// Makes a machine of two files. It stands still unless told otherwise.
    pub(super) async fn load_snapshot(&mut self, load: SnapshotLoad) -> Result<(), Fault> {
        let begun = Instant::now();
        let refuse = |error: LoadError| within("Load snapshot error", error);
        if self.configured {
            return Err(refuse(LoadError::Configured));
        }
        supported(&load)?;
        let mut resources = Resources {
            serial: self.resources.serial.clone(),
            ..Resources::default()
        };
        let running = self.load(&load, &mut resources).await;
        let mut running = match running {
            Ok(running) => running,
            Err(error) => {
                resources.let_go();
                return Err(refuse(error));
            }
        };
        if load.resume_vm {
            running
                .set_paused(false)
                .await
                .map_err(|error| refuse(error.into()))?;
        }
        if let Some(config) = &resources.mmds {
            self.mmds.configure(config);
        }
        self.resources = resources;
        self.running = Some(running);
        self.paused = !load.resume_vm;
        self.tell_load(begun);
        self.start_counting();
        Ok(())
    }

    async fn load(&self, load: &SnapshotLoad, resources: &mut Resources) -> Result<Running, LoadError> {
        let file = File::open(&load.snapshot_path).map_err(LoadError::Open)?;
        let State { mut machine, devices } = State::read(file)?;
        override_devices(&mut machine.config, load)?;
        let here = Maker {
            qemu: machine.maker.qemu.clone(),
            arch: std::env::consts::ARCH.to_owned(),
            accel: self.host.accel.name().to_owned(),
            processor: arch::processor(self.host.accel),
        };
        same_maker(&machine.maker, &here)?;
        let size = machine.config.machine_config.unwrap_or_default().mem_size_mib as u64;
        let size = (size << 20, load.mem_backend.backend_path.as_path());
        let memory = open_memory(size, Memory::private).map_err(LoadError::Memory)?;
        resources
            .put_all(machine.config, &machine.serials)
            .map_err(LoadError::Build)?;
        resources.machine.track_dirty_pages = load.track_dirty_pages;
        let origin = Origin::State(&machine.pumped);
        let started = bring_up(resources, &self.host, &self.mmds, memory, &origin).await;
        let mut running = match started {
            Ok(running) => running,
            Err(fault) => {
                // A program without a dynamic linker takes no library in.
                tracing::warn!(
                    "The guest gets a copy of the snapshot's memory, which cannot be shared: {fault}"
                );
                let memory = open_memory(size, Memory::copy).map_err(LoadError::Memory)?;
                bring_up(resources, &self.host, &self.mmds, memory, &origin)
                    .await
                    .map_err(LoadError::Build)?
            }
        };
        let is = running.qmp.execute(&QueryVersion {}).await?.to_string();
        same_maker(&machine.maker, &Maker { qemu: is, ..here })?;
        match take_over(&mut running, &devices, resources).await {
            Ok(()) => Ok(running),
            Err(LoadError::Qemu(error)) => {
                // What does not fit QEMU tells on its standard error, and ends.
                let complaints = running.process.finish().await.complaints;
                Err(match complaints.is_empty() {
                    true => LoadError::Qemu(error),
                    false => LoadError::Complaints(complaints.join("; ")),
                })
            }
            Err(error) => Err(error),
        }
    }
}

fn supported(load: &SnapshotLoad) -> Result<(), Fault> {
    let refuse = |what| Err(not_supported(what));
    match (load.mem_backend.backend_type, load.huge_pages) {
        (MemoryBackendType::Uffd, _) => {
            refuse("QEMU's memory cannot be served by userfaultfd; use the type `File`")
        }
        (_, SnapshotHugePages::Hugetlbfs2M) => Err(within("Load snapshot error", LoadError::HugePages)),
        (_, SnapshotHugePages::Transparent) => refuse("huge pages cannot be had under QEMU here"),
        _ if load.clock_realtime => {
            refuse("QEMU's guests have no kvm-clock that could be set on; set the clock in the guest")
        }
        _ => Ok(()),
    }
}

fn override_devices(config: &mut FullVmConfiguration, load: &SnapshotLoad) -> Result<(), LoadError> {
    for entry in &load.network_overrides {
        let net = config
            .network_interfaces
            .iter_mut()
            .find(|net| net.iface_id == entry.iface_id);
        net.ok_or(LoadError::UnknownNetwork)?
            .host_dev_name
            .clone_from(&entry.host_dev_name);
    }
    if let Some(entry) = &load.vsock_override {
        let vsock = config.vsock.as_mut().ok_or(LoadError::UnknownVsock)?;
        vsock.uds_path.clone_from(&entry.uds_path);
    }
    Ok(())
}

fn same_maker(was: &Maker, is: &Maker) -> Result<(), LoadError> {
    if was == is {
        return Ok(());
    }
    Err(LoadError::Maker {
        was: was.to_string(),
        is: is.to_string(),
    })
}

fn open_memory(
    (size, path): (u64, &Path),
    make: impl FnOnce(File, u64) -> io::Result<Memory>,
) -> io::Result<Memory> {
    make(File::open(path)?, size)
}

/// Gives QEMU the state it waits for, and what is no part of it.
async fn take_over(running: &mut Running, devices: &[u8], resources: &Resources) -> Result<(), LoadError> {
    if running.vsock.is_some() {
        let remote = Remote::open(running.process.id().unwrap_or_default()).map_err(Unfit::Access)?;
        migratable::make_migratable(&remote)?;
    }
    let file =
        memfd_create("devices", MemfdFlags::CLOEXEC).map_err(|error| LoadError::Descriptors(error.into()))?;
    let file = File::from(file);
    file.write_all_at(devices, 0).map_err(LoadError::Descriptors)?;
    let qmp = &mut running.qmp;
    let events = MigrationCapability {
        capability: "events",
        state: true,
    };
    let capabilities = vec![events];
    qmp.execute(&MigrateSetCapabilities { capabilities }).await?;
    let fdname = "devices".to_owned();
    qmp.execute_with_fd(&GetFd { fdname }, file.as_fd()).await?;
    let uri = "fd:devices".to_owned();
    qmp.execute(&MigrateIncoming { uri }).await?;
    qmp.migrated().await?;
    hold_vsock(running).await?;
    if let Some(balloon) = &resources.balloon
        && balloon.stats_polling_interval_s > 0
    {
        running
            .set_balloon_interval(balloon.stats_polling_interval_s)
            .await?;
    }
    for (index, net) in resources.nets.iter().enumerate() {
        limit(running, index, net).await?;
    }
    Ok(())
}

/// Keeps the vsock device back until its driver knows that its connections are gone.
async fn hold_vsock(running: &mut Running) -> Result<(), LoadError> {
    if let Some(device) = &running.vsock {
        let events = VirtioQueueStatus {
            path: "/machine/peripheral/vsock0".to_owned(),
            queue: 2,
        };
        let ring = running.qmp.execute(&events).await?;
        if ring.vring_avail != 0 {
            device.hold(Hold::new(ring.vring_avail, ring.shadow_avail_idx));
        }
    }
    Ok(())
}

/// Puts limits that were put on an interface while its guest ran.
async fn limit(running: &mut Running, index: usize, net: &NetworkInterface) -> Result<(), LoadError> {
    if running.pumps.contains_key(&net.iface_id) {
        return Ok(());
    }
    for (direction, limiter) in [
        (Direction::Rx, &net.rx_rate_limiter),
        (Direction::Tx, &net.tx_rate_limiter),
    ] {
        if let Some(limiter) = limiter {
            running.limit_net(index, direction, limiter).await?;
        }
    }
    Ok(())
}
