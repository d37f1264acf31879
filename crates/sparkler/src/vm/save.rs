//! `PUT /snapshot/create`.
//!
//! Invariant: the guest stands still from the first byte to the last and goes on as if nothing had been: QEMU is asked for
//! the state of its devices, which changes nothing in it, and memory is only read.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use firecracker_api::models::{SnapshotCreateParams, SnapshotType};
use firecracker_api::server::Fault;
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};

use super::Vm;
use super::faults::within;
use super::running::Running;
use crate::arch;
use crate::memory::MemoryError;
use crate::qemu::migratable::{self, Unfit};
use crate::qemu::qmp::QmpError;
use crate::qemu::qmp::command::{AddFd, QueryVersion, RemoveFd, XenSaveDevicesState};
use crate::qemu::remote::Remote;
use crate::snapshot::{Maker, SavedMachine, State, StateError};

/// The set that the descriptor for the devices' state is passed in: no drive's.
const FDSET: u64 = i32::MAX as u64;

/// Why there is no snapshot (`CreateSnapshotError` in Firecracker's `persist.rs`).
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    #[error("Cannot save the microVM state: Operation not allowed: save/restore unavailable while running")]
    Runs,
    #[error("Cannot save the microVM state: {0}")]
    Qemu(#[from] QmpError),
    #[error("Cannot save the microVM state: {0}")]
    Devices(#[source] io::Error),
    #[error("Cannot save the microVM state: Cannot reach QEMU's process: {0}")]
    Remote(#[source] io::Error),
    #[error("Cannot save the microVM state: a vsock device: {0}")]
    Vsock(#[from] Unfit),
    #[error("Cannot serialize the microVM state: {0}")]
    Encode(#[from] StateError),
    #[error("Cannot perform {0} on the snapshot backing file: {1}")]
    File(&'static str, #[source] io::Error),
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl Vm {
    /// Writes the machine into two files.
    pub(super) async fn create_snapshot(&mut self, create: &SnapshotCreateParams) -> Result<(), Fault> {
        let begun = Instant::now();
        self.save(create)
            .await
            .map_err(|error| within("Create snapshot error", error))?;
        let took = micros(begun);
        let latencies = &mut self.metrics.counters.latencies_us;
        let (name, api, vmm) = match create.snapshot_type {
            SnapshotType::Full => (
                "full",
                &mut latencies.full_create_snapshot,
                &mut latencies.vmm_full_create_snapshot,
            ),
            SnapshotType::Diff => (
                "diff",
                &mut latencies.diff_create_snapshot,
                &mut latencies.vmm_diff_create_snapshot,
            ),
        };
        (*api, *vmm) = (took, took);
        tracing::info!("'create {name} snapshot' VMM action took {took} us.");
        Ok(())
    }

    async fn save(&mut self, create: &SnapshotCreateParams) -> Result<(), SaveError> {
        if !self.paused {
            return Err(SaveError::Runs);
        }
        let machine = self.saved_machine().await?;
        let Some(running) = &mut self.running else {
            return Err(SaveError::Runs);
        };
        let remote = Remote::open(running.process.id().unwrap_or_default()).map_err(SaveError::Remote)?;
        if running.vsock.is_some() {
            migratable::make_migratable(&remote)?;
        }
        let devices = running.save_devices().await?;
        let bytes = State { machine, devices }.encode()?;
        fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&create.snapshot_path)
            .map_err(|error| SaveError::File("open", error))
            .and_then(|mut file| {
                io::Write::write_all(&mut file, &bytes).map_err(|error| SaveError::File("write", error))
            })?;
        running
            .memory
            .save(create.snapshot_type, &create.mem_file_path, &remote)?;
        Ok(())
    }

    /// The machine as its state file describes it.
    async fn saved_machine(&mut self) -> Result<SavedMachine, SaveError> {
        let Some(running) = &mut self.running else {
            return Err(SaveError::Runs);
        };
        let resources = &self.resources;
        let serial = |id: &String| resources.images.get(id).map(|image| image.serial.clone());
        Ok(SavedMachine {
            config: resources.full_config(),
            maker: Maker {
                qemu: running.qmp.execute(&QueryVersion {}).await?.to_string(),
                arch: std::env::consts::ARCH.to_owned(),
                accel: self.host.accel.name().to_owned(),
                processor: arch::processor(self.host.accel),
            },
            serials: resources
                .drives
                .iter()
                .map(|drive| serial(&drive.drive_id).unwrap_or_default())
                .collect(),
            pumped: running.pumps.keys().cloned().collect(),
            taken_ms: now_ms(),
        })
    }

    /// Keeps how long a snapshot took to load, and logs it.
    pub(super) fn tell_load(&mut self, begun: Instant) {
        let took = micros(begun);
        let latencies = &mut self.metrics.counters.latencies_us;
        (latencies.load_snapshot, latencies.vmm_load_snapshot) = (took, took);
        tracing::info!("'load snapshot' VMM action took {took} us.");
    }
}

impl Running {
    /// What QEMU says of its devices. It writes to a file without a name, which is read once it is done.
    async fn save_devices(&mut self) -> Result<Vec<u8>, SaveError> {
        let file =
            memfd_create("devices", MemfdFlags::CLOEXEC).map_err(|error| SaveError::Devices(error.into()))?;
        // QEMU takes a descriptor of a set only for what it was opened for.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let writable = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| SaveError::Devices(error.into()))?;
        let set = AddFd { fdset_id: FDSET };
        self.qmp.execute_with_fd(&set, writable.as_fd()).await?;
        let saved = self
            .qmp
            .execute(&XenSaveDevicesState {
                filename: format!("/dev/fdset/{FDSET}"),
                live: false,
            })
            .await;
        self.qmp.execute(&RemoveFd { fdset_id: FDSET }).await?;
        saved?;
        let mut file = fs::File::from(file);
        let mut devices = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut devices))
            .map_err(SaveError::Devices)?;
        Ok(devices)
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
