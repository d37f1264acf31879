//! The operations, in the order of the crate's table. Each sends its body as it is; the server judges it.

use hyper::{Method, Uri};
use serde_json::Value;

use super::{Client, Error, device_path};
use crate::models::{
    ActionType, Balloon, BalloonHintingStatus, BalloonStartCmd, BalloonStats, BalloonStatsUpdate,
    BalloonUpdate, BootSource, CpuConfig, Drive, EntropyDevice, FirecrackerVersion, FullVmConfiguration,
    InstanceActionInfo, InstanceInfo, Logger, MachineConfiguration, MemoryHotplugConfig,
    MemoryHotplugSizeUpdate, MemoryHotplugStatus, Metrics, MmdsConfig, NetworkInterface, PartialDrive,
    PartialMachineConfiguration, PartialNetworkInterface, PartialPmem, Pmem, SerialDevice,
    SnapshotCreateParams, SnapshotLoadParams, Vm, VmState, Vsock,
};

/// The operations. Each fails with [`Error::Fault`] where the server refuses, and as [`Error`] tells where it is not
/// reached or does not answer.
impl Client {
    /// `GET /`: id, state and version.
    pub async fn get_instance(&self) -> Result<InstanceInfo, Error> {
        self.get("/").await
    }

    /// `GET /version`.
    pub async fn get_version(&self) -> Result<FirecrackerVersion, Error> {
        self.get("/version").await
    }

    /// `GET /vm/config`: everything configured, and what was changed since.
    pub async fn get_vm_config(&self) -> Result<FullVmConfiguration, Error> {
        self.get("/vm/config").await
    }

    /// `PUT /actions`: boots the guest, presses Ctrl-Alt-Del or writes the metrics.
    pub async fn put_action(&self, action_type: ActionType) -> Result<(), Error> {
        self.change(
            Method::PUT,
            Uri::from_static("/actions"),
            &InstanceActionInfo { action_type },
        )
        .await
    }

    /// `PATCH /vm`: pauses or resumes a started guest.
    pub async fn patch_vm(&self, state: VmState) -> Result<(), Error> {
        self.change(Method::PATCH, Uri::from_static("/vm"), &Vm { state })
            .await
    }

    /// `PUT /boot-source`. Before the start only.
    pub async fn put_boot_source(&self, boot_source: &BootSource) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/boot-source"), boot_source)
            .await
    }

    /// `GET /machine-config`.
    pub async fn get_machine_config(&self) -> Result<MachineConfiguration, Error> {
        self.get("/machine-config").await
    }

    /// `PUT /machine-config`. Before the start only.
    pub async fn put_machine_config(&self, machine: &MachineConfiguration) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/machine-config"), machine)
            .await
    }

    /// `PATCH /machine-config`. Before the start only.
    pub async fn patch_machine_config(&self, change: &PartialMachineConfiguration) -> Result<(), Error> {
        self.change(Method::PATCH, Uri::from_static("/machine-config"), change)
            .await
    }

    /// `PUT /cpu-config`. Before the start only.
    pub async fn put_cpu_config(&self, template: &CpuConfig) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/cpu-config"), template)
            .await
    }

    /// `PUT /drives/{drive_id}`. After the start it plugs a drive in (developer preview, PCI only).
    pub async fn put_drive(&self, drive: &Drive) -> Result<(), Error> {
        self.change(Method::PUT, device_path("drives", &drive.drive_id)?, drive)
            .await
    }

    /// `PATCH /drives/{drive_id}`. After the start only.
    pub async fn patch_drive(&self, change: &PartialDrive) -> Result<(), Error> {
        self.change(Method::PATCH, device_path("drives", &change.drive_id)?, change)
            .await
    }

    /// `DELETE /drives/{drive_id}`: unplugs it. Since 1.16, developer preview, PCI only.
    pub async fn delete_drive(&self, drive_id: &str) -> Result<(), Error> {
        self.order(Method::DELETE, device_path("drives", drive_id)?).await
    }

    /// `PUT /pmem/{id}`. Since 1.14. After the start it plugs a device in (developer preview, PCI only).
    pub async fn put_pmem(&self, pmem: &Pmem) -> Result<(), Error> {
        self.change(Method::PUT, device_path("pmem", &pmem.id)?, pmem)
            .await
    }

    /// `PATCH /pmem/{id}`. Since 1.16; after the start only.
    pub async fn patch_pmem(&self, change: &PartialPmem) -> Result<(), Error> {
        self.change(Method::PATCH, device_path("pmem", &change.id)?, change)
            .await
    }

    /// `DELETE /pmem/{id}`: unplugs it. Since 1.16, developer preview, PCI only.
    pub async fn delete_pmem(&self, id: &str) -> Result<(), Error> {
        self.order(Method::DELETE, device_path("pmem", id)?).await
    }

    /// `PUT /network-interfaces/{iface_id}`. After the start it plugs one in (developer preview, PCI only).
    pub async fn put_network_interface(&self, interface: &NetworkInterface) -> Result<(), Error> {
        self.change(
            Method::PUT,
            device_path("network-interfaces", &interface.iface_id)?,
            interface,
        )
        .await
    }

    /// `PATCH /network-interfaces/{iface_id}`. After the start only.
    pub async fn patch_network_interface(&self, change: &PartialNetworkInterface) -> Result<(), Error> {
        self.change(
            Method::PATCH,
            device_path("network-interfaces", &change.iface_id)?,
            change,
        )
        .await
    }

    /// `DELETE /network-interfaces/{iface_id}`: unplugs it. Since 1.16, developer preview, PCI only.
    pub async fn delete_network_interface(&self, iface_id: &str) -> Result<(), Error> {
        self.order(Method::DELETE, device_path("network-interfaces", iface_id)?)
            .await
    }

    /// `PUT /vsock`. Before the start only.
    pub async fn put_vsock(&self, vsock: &Vsock) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/vsock"), vsock).await
    }

    /// `PUT /entropy`. Before the start only.
    pub async fn put_entropy(&self, entropy: &EntropyDevice) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/entropy"), entropy)
            .await
    }

    /// `PUT /serial`. Since 1.14; before the start only.
    pub async fn put_serial(&self, serial: &SerialDevice) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/serial"), serial)
            .await
    }

    /// `GET /balloon`.
    pub async fn get_balloon(&self) -> Result<Balloon, Error> {
        self.get("/balloon").await
    }

    /// `PUT /balloon`. Before the start only.
    pub async fn put_balloon(&self, balloon: &Balloon) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/balloon"), balloon)
            .await
    }

    /// `PATCH /balloon`. After the start only.
    pub async fn patch_balloon(&self, change: &BalloonUpdate) -> Result<(), Error> {
        self.change(Method::PATCH, Uri::from_static("/balloon"), change)
            .await
    }

    /// `GET /balloon/statistics`. After the start only, and only with a polling interval.
    pub async fn get_balloon_statistics(&self) -> Result<BalloonStats, Error> {
        self.get("/balloon/statistics").await
    }

    /// `PATCH /balloon/statistics`. After the start only.
    pub async fn patch_balloon_statistics(&self, change: &BalloonStatsUpdate) -> Result<(), Error> {
        self.change(Method::PATCH, Uri::from_static("/balloon/statistics"), change)
            .await
    }

    /// `PATCH /balloon/hinting/start`. Since 1.14; after the start only.
    pub async fn patch_balloon_hinting_start(&self, command: &BalloonStartCmd) -> Result<(), Error> {
        self.change(Method::PATCH, Uri::from_static("/balloon/hinting/start"), command)
            .await
    }

    /// `PATCH /balloon/hinting/stop`. Since 1.14; after the start only.
    pub async fn patch_balloon_hinting_stop(&self) -> Result<(), Error> {
        self.order(Method::PATCH, Uri::from_static("/balloon/hinting/stop"))
            .await
    }

    /// `GET /balloon/hinting/status`. Since 1.14; after the start only.
    pub async fn get_balloon_hinting_status(&self) -> Result<BalloonHintingStatus, Error> {
        self.get("/balloon/hinting/status").await
    }

    /// `GET /hotplug/memory`. Since 1.14; after the start only.
    pub async fn get_memory_hotplug(&self) -> Result<MemoryHotplugStatus, Error> {
        self.get("/hotplug/memory").await
    }

    /// `PUT /hotplug/memory`. Since 1.14; before the start only.
    pub async fn put_memory_hotplug(&self, config: &MemoryHotplugConfig) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/hotplug/memory"), config)
            .await
    }

    /// `PATCH /hotplug/memory`. Since 1.14; after the start only.
    pub async fn patch_memory_hotplug(&self, change: &MemoryHotplugSizeUpdate) -> Result<(), Error> {
        self.change(Method::PATCH, Uri::from_static("/hotplug/memory"), change)
            .await
    }

    /// `GET /mmds`: the metadata as they are now.
    pub async fn get_mmds(&self) -> Result<Value, Error> {
        self.get("/mmds").await
    }

    /// `PUT /mmds`: replaces the metadata; a JSON object.
    pub async fn put_mmds(&self, contents: &Value) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/mmds"), contents)
            .await
    }

    /// `PATCH /mmds`: merges into the metadata as RFC 7396 says: null removes a key.
    pub async fn patch_mmds(&self, patch: &Value) -> Result<(), Error> {
        self.change(Method::PATCH, Uri::from_static("/mmds"), patch).await
    }

    /// `PUT /mmds/config`. Before the start only, after the interfaces it names.
    pub async fn put_mmds_config(&self, config: &MmdsConfig) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/mmds/config"), config)
            .await
    }

    /// `PUT /logger`. Before the start only.
    pub async fn put_logger(&self, logger: &Logger) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/logger"), logger)
            .await
    }

    /// `PUT /metrics`. Before the start only, and once.
    pub async fn put_metrics(&self, metrics: &Metrics) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/metrics"), metrics)
            .await
    }

    /// `PUT /snapshot/create`. Of a paused guest only.
    pub async fn put_snapshot_create(&self, params: &SnapshotCreateParams) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/snapshot/create"), params)
            .await
    }

    /// `PUT /snapshot/load`. Before anything but log and metrics is configured.
    pub async fn put_snapshot_load(&self, params: &SnapshotLoadParams) -> Result<(), Error> {
        self.change(Method::PUT, Uri::from_static("/snapshot/load"), params)
            .await
    }
}
