//! Snapshots: how one is made and how one is loaded.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::is_off;

/// The body of `PUT /snapshot/create`. The VM must be paused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct CreateSnapshotParams")]
pub struct SnapshotCreateParams {
    /// How much memory is written.
    #[serde(default)]
    pub snapshot_type: SnapshotType,
    /// The file for the state of vCPUs and devices.
    pub snapshot_path: PathBuf,
    /// The file for the guest's memory.
    pub mem_file_path: PathBuf,
}

/// How much of the guest's memory a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum SnapshotType {
    /// Only what was written since the last snapshot, into a sparse file. Developer preview.
    Diff,
    /// All of it.
    #[default]
    Full,
}

/// The body of `PUT /snapshot/load`. Exactly one of `mem_file_path` and `mem_backend` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct LoadSnapshotConfig")]
pub struct SnapshotLoadParams {
    /// The file with the state of vCPUs and devices.
    pub snapshot_path: PathBuf,
    /// Deprecated since 1.1: a `mem_backend` of type [`MemoryBackendType::File`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_file_path: Option<PathBuf>,
    /// Where the guest's memory comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_backend: Option<MemoryBackend>,
    /// Deprecated since 1.13: `track_dirty_pages`.
    #[serde(default, skip_serializing_if = "is_off")]
    pub enable_diff_snapshots: bool,
    /// Whether writes to memory are tracked, for diff snapshots. Since 1.13.
    #[serde(default, skip_serializing_if = "is_off")]
    pub track_dirty_pages: bool,
    /// Whether the guest runs at once; otherwise it is paused.
    #[serde(default)]
    pub resume_vm: bool,
    /// Other TAP devices than at the time of the snapshot. Since 1.12.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_overrides: Vec<NetworkOverride>,
    /// Another vsock path than at the time of the snapshot. Since 1.16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsock_override: Option<VsockOverride>,
    /// Whether the guest's clock jumps on to the present (`x86_64` only). Since 1.16.
    #[serde(default, skip_serializing_if = "is_off")]
    pub clock_realtime: bool,
    /// The pages behind the guest's memory. Since 1.17.
    #[serde(default, skip_serializing_if = "SnapshotHugePages::is_default")]
    pub huge_pages: SnapshotHugePages,
}

/// Where a loaded guest's memory comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct MemBackendConfig")]
pub struct MemoryBackend {
    /// A file, or the socket of the process that serves page faults.
    pub backend_path: PathBuf,
    /// Which of the two.
    pub backend_type: MemoryBackendType,
}

/// What stands behind a loaded guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum MemoryBackendType {
    /// A file, mapped privately: it must not change while the guest lives.
    File,
    /// A process that serves page faults by userfaultfd(2).
    Uffd,
}

/// Another TAP device for an interface of the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct NetworkOverride {
    /// The interface's id.
    pub iface_id: String,
    /// The TAP device's name.
    pub host_dev_name: String,
}

/// Another socket for the vsock device of the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct VsockOverride {
    /// See [`super::Vsock::uds_path`].
    pub uds_path: String,
}

/// The pages behind a loaded guest's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(expecting = "enum SnapshotLoadHugePageConfig")]
pub enum SnapshotHugePages {
    /// As at the time of the snapshot.
    #[default]
    Snapshot,
    /// 4 KiB pages.
    None,
    /// Transparent huge pages.
    Transparent,
    /// 2 MiB pages of hugetlbfs; with [`MemoryBackendType::Uffd`] only.
    #[serde(rename = "2M")]
    Hugetlbfs2M,
}

impl SnapshotHugePages {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde's skip_serializing_if gives a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
