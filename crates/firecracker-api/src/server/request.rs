use std::path::PathBuf;

use serde_json::Value;

use super::Fault;
use crate::models::{
    Balloon, BalloonStartCmd, BalloonStatsUpdate, BalloonUpdate, BootSource, CpuConfig, Drive, EntropyDevice,
    InstanceState, Logger, MemoryBackend, MemoryHotplugConfig, MemoryHotplugSizeUpdate, Metrics, MmdsConfig,
    NetworkInterface, NetworkOverride, PartialDrive, PartialMachineConfiguration, PartialNetworkInterface,
    PartialPmem, Pmem, SerialDevice, SnapshotCreateParams, SnapshotHugePages, VmState, Vsock, VsockOverride,
};

/// What a request asks for. Ids are not empty, of letters, digits and `_`, and the same in path and body.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ApiRequest {
    /// `GET /`
    GetInstance,
    /// `GET /version`
    GetVersion,
    /// `GET /vm/config`
    GetVmConfig,
    /// `PUT /actions` with `FlushMetrics`
    FlushMetrics,
    /// `PUT /actions` with `InstanceStart`
    InstanceStart,
    /// `PUT /actions` with `SendCtrlAltDel`
    SendCtrlAltDel,
    /// `PATCH /vm`
    PatchVm(VmState),
    /// `PUT /boot-source`
    PutBootSource(BootSource),
    /// `GET /machine-config`
    GetMachineConfig,
    /// `PUT /machine-config` (every field but perhaps the template is set) and `PATCH /machine-config` (one at least)
    UpdateMachineConfig(PartialMachineConfiguration),
    /// `PUT /cpu-config`
    PutCpuConfig(CpuConfig),
    /// `PUT /drives/{drive_id}`
    PutDrive(Drive),
    /// `PATCH /drives/{drive_id}`
    PatchDrive(PartialDrive),
    /// `PUT /pmem/{id}`
    PutPmem(Pmem),
    /// `PATCH /pmem/{id}`
    PatchPmem(PartialPmem),
    /// `PUT /network-interfaces/{iface_id}`
    PutNetworkInterface(NetworkInterface),
    /// `PATCH /network-interfaces/{iface_id}`
    PatchNetworkInterface(PartialNetworkInterface),
    /// `DELETE` of a device
    UnplugDevice {
        /// The collection in the path.
        kind: DeviceKind,
        /// The device's id.
        id: String,
    },
    /// `PUT /vsock`
    PutVsock(Vsock),
    /// `PUT /entropy`
    PutEntropy(EntropyDevice),
    /// `PUT /serial`
    PutSerial(SerialDevice),
    /// `GET /balloon`
    GetBalloon,
    /// `PUT /balloon`
    PutBalloon(Balloon),
    /// `PATCH /balloon`
    PatchBalloon(BalloonUpdate),
    /// `GET /balloon/statistics`
    GetBalloonStatistics,
    /// `PATCH /balloon/statistics`
    PatchBalloonStatistics(BalloonStatsUpdate),
    /// `PATCH /balloon/hinting/start`
    StartBalloonHinting(BalloonStartCmd),
    /// `PATCH /balloon/hinting/stop`
    StopBalloonHinting,
    /// `GET /balloon/hinting/status`
    GetBalloonHintingStatus,
    /// `GET /hotplug/memory`
    GetMemoryHotplug,
    /// `PUT /hotplug/memory`
    PutMemoryHotplug(MemoryHotplugConfig),
    /// `PATCH /hotplug/memory`
    PatchMemoryHotplug(MemoryHotplugSizeUpdate),
    /// `GET /mmds`
    GetMmds,
    /// `PUT /mmds`
    PutMmds(Value),
    /// `PATCH /mmds`
    PatchMmds(Value),
    /// `PUT /mmds/config`
    PutMmdsConfig(MmdsConfig),
    /// `PUT /logger`
    PutLogger(Logger),
    /// `PUT /metrics`
    PutMetrics(Metrics),
    /// `PUT /snapshot/create`
    CreateSnapshot(SnapshotCreateParams),
    /// `PUT /snapshot/load`
    LoadSnapshot(SnapshotLoad),
}

/// The devices that can be unplugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// `/drives`
    Drive,
    /// `/pmem`
    Pmem,
    /// `/network-interfaces`
    NetworkInterface,
}

/// A [`SnapshotLoadParams`](crate::models::SnapshotLoadParams) whose deprecated fields have been translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotLoad {
    /// The file with the state of vCPUs and devices.
    pub snapshot_path: PathBuf,
    /// Where the guest's memory comes from.
    pub mem_backend: MemoryBackend,
    /// Whether writes to memory are tracked.
    pub track_dirty_pages: bool,
    /// Whether the guest runs at once.
    pub resume_vm: bool,
    /// Other TAP devices than at the time of the snapshot.
    pub network_overrides: Vec<NetworkOverride>,
    /// Another vsock path than at the time of the snapshot.
    pub vsock_override: Option<VsockOverride>,
    /// Whether the guest's clock jumps on to the present.
    pub clock_realtime: bool,
    /// The pages behind the guest's memory.
    pub huge_pages: SnapshotHugePages,
}

impl ApiRequest {
    /// Whether this may be asked in `state`, whatever its values are (`handle_preboot_request` and
    /// `RuntimeApiController::handle_request` in Firecracker's `rpc_interface.rs`).
    ///
    /// # Errors
    /// The fault to answer with.
    pub fn admit(&self, state: InstanceState) -> Result<(), Fault> {
        let not_started = state == InstanceState::NotStarted;
        match self {
            Self::GetInstance
            | Self::GetVersion
            | Self::GetVmConfig
            | Self::GetMachineConfig
            | Self::PutDrive(_)
            | Self::PutPmem(_)
            | Self::PutNetworkInterface(_)
            | Self::GetBalloon
            | Self::GetMmds
            | Self::PutMmds(_)
            | Self::PatchMmds(_) => Ok(()),
            Self::InstanceStart
            | Self::PutBootSource(_)
            | Self::UpdateMachineConfig(_)
            | Self::PutCpuConfig(_)
            | Self::PutVsock(_)
            | Self::PutEntropy(_)
            | Self::PutSerial(_)
            | Self::PutBalloon(_)
            | Self::PutMemoryHotplug(_)
            | Self::PutMmdsConfig(_)
            | Self::PutLogger(_)
            | Self::PutMetrics(_)
            | Self::LoadSnapshot(_) => not_started.then_some(()).ok_or_else(Fault::not_after_start),
            Self::FlushMetrics
            | Self::SendCtrlAltDel
            | Self::PatchVm(_)
            | Self::PatchDrive(_)
            | Self::PatchPmem(_)
            | Self::PatchNetworkInterface(_)
            | Self::UnplugDevice { .. }
            | Self::PatchBalloon(_)
            | Self::GetBalloonStatistics
            | Self::PatchBalloonStatistics(_)
            | Self::StartBalloonHinting(_)
            | Self::StopBalloonHinting
            | Self::GetBalloonHintingStatus
            | Self::GetMemoryHotplug
            | Self::PatchMemoryHotplug(_)
            | Self::CreateSnapshot(_) => (!not_started).then_some(()).ok_or_else(Fault::not_before_start),
        }
    }
}
