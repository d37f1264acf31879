//! vCPUs and memory.

use serde::{Deserialize, Serialize};

use super::CpuTemplate;

/// The machine: the body of `PUT /machine-config` and the answer to `GET /machine-config`.
///
/// A `PUT` sets every field, absent ones to their default. Until then a VM has [`MachineConfiguration::default`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct MachineConfig")]
pub struct MachineConfiguration {
    /// vCPUs: 1 to 32; with `smt` 1 or an even number.
    pub vcpu_count: u8,
    /// Memory in MiB: 1 or more; even with huge pages.
    pub mem_size_mib: usize,
    /// Whether two vCPUs each share a core (`x86_64` only).
    #[serde(default)]
    pub smt: bool,
    /// A built-in set of CPU features. Deprecated since 1.5: `PUT /cpu-config` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<CpuTemplate>,
    /// Whether writes to memory are tracked, for diff snapshots.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// The pages behind the guest's memory.
    #[serde(default)]
    pub huge_pages: HugePages,
}

impl Default for MachineConfiguration {
    /// One vCPU and 128 MiB, as Firecracker has it before anything is configured.
    fn default() -> Self {
        Self {
            vcpu_count: 1,
            mem_size_mib: 128,
            smt: false,
            cpu_template: None,
            track_dirty_pages: false,
            huge_pages: HugePages::None,
        }
    }
}

/// A change of some of the machine's fields: the body of `PATCH /machine-config`. Not all absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct MachineConfigUpdate")]
pub struct PartialMachineConfiguration {
    /// See [`MachineConfiguration::vcpu_count`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu_count: Option<u8>,
    /// See [`MachineConfiguration::mem_size_mib`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_size_mib: Option<usize>,
    /// See [`MachineConfiguration::smt`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
    /// See [`MachineConfiguration::cpu_template`]; [`CpuTemplate::None`] removes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<CpuTemplate>,
    /// See [`MachineConfiguration::track_dirty_pages`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track_dirty_pages: Option<bool>,
    /// See [`MachineConfiguration::huge_pages`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub huge_pages: Option<HugePages>,
}

impl From<MachineConfiguration> for PartialMachineConfiguration {
    /// The update that a `PUT` of `whole` amounts to. A template it does not name stays, as in Firecracker.
    fn from(whole: MachineConfiguration) -> Self {
        Self {
            vcpu_count: Some(whole.vcpu_count),
            mem_size_mib: Some(whole.mem_size_mib),
            smt: Some(whole.smt),
            cpu_template: whole.cpu_template,
            track_dirty_pages: Some(whole.track_dirty_pages),
            huge_pages: Some(whole.huge_pages),
        }
    }
}

/// The pages behind the guest's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(expecting = "enum HugePageConfig")]
pub enum HugePages {
    /// 4 KiB pages.
    #[default]
    None,
    /// Transparent huge pages, as far as the host has them. Since 1.17.
    Transparent,
    /// 2 MiB pages of hugetlbfs, which the host must have set aside.
    #[serde(rename = "2M")]
    Hugetlbfs2M,
}
