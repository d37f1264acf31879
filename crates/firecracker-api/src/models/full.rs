//! Everything that was configured, in one object.

use serde::{Deserialize, Serialize};

use super::{
    Balloon, BootSource, CpuConfigSource, Drive, EntropyDevice, Logger, MachineConfiguration,
    MemoryHotplugConfig, Metrics, MmdsConfig, NetworkInterface, Pmem, Vsock,
};

/// The answer to `GET /vm/config`, and the format of the file given with `--config-file`.
///
/// After a snapshot was loaded the answer's boot source, `smt` and `cpu_template` are empty. Unknown sections are
/// ignored, unknown fields inside a section are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(rename_all = "kebab-case", expecting = "struct VmmConfig")]
pub struct FullVmConfiguration {
    /// See `PUT /balloon`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balloon: Option<Balloon>,
    /// See `PUT /drives/{drive_id}`; the root device first.
    pub drives: Vec<Drive>,
    /// See `PUT /boot-source`.
    pub boot_source: BootSource,
    /// See `PUT /cpu-config`; in a file also the path of another file. Never in an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_config: Option<CpuConfigSource>,
    /// See `PUT /logger`. Never in an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logger: Option<Logger>,
    /// See `PUT /machine-config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_config: Option<MachineConfiguration>,
    /// See `PUT /metrics`. Never in an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// See `PUT /mmds/config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmds_config: Option<MmdsConfig>,
    /// See `PUT /network-interfaces/{iface_id}`.
    #[serde(default)]
    pub network_interfaces: Vec<NetworkInterface>,
    /// See `PUT /vsock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsock: Option<Vsock>,
    /// See `PUT /entropy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<EntropyDevice>,
    /// See `PUT /pmem/{id}`. Since 1.14.
    #[serde(default)]
    pub pmem: Vec<Pmem>,
    /// See `PUT /hotplug/memory`. Since 1.14.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_hotplug: Option<MemoryHotplugConfig>,
}
