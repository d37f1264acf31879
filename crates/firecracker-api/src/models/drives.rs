//! Block devices.

use serde::{Deserialize, Serialize};

use super::RateLimiter;

/// A block device: the body of `PUT /drives/{drive_id}`.
///
/// Either a file of the host (`path_on_host`) or a vhost-user back end
/// (`socket`, then none of `is_read_only`, `path_on_host`, `rate_limiter`, `io_engine`). The order of the requests is
/// the order of the disks in the guest, but a root device comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct BlockDeviceConfig")]
pub struct Drive {
    /// Letters, digits and `_`; the same as in the request's path.
    pub drive_id: String,
    /// The boot partition's PARTUUID; used for a root device only, in `root=PARTUUID=…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partuuid: Option<String>,
    /// Whether the guest's root file system is on it (`root=/dev/vda` without a PARTUUID). One per VM.
    pub is_root_device: bool,
    /// What becomes of the guest's flushes.
    #[serde(default)]
    pub cache_type: CacheType,
    /// Whether the file is opened read-only and the guest told so; not so when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_read_only: Option<bool>,
    /// The file or block device behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<String>,
    /// Limits on bytes and requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
    /// How the file is read and written; [`IoEngine::Sync`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_engine: Option<IoEngine>,
    /// The vhost-user back end's socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
}

/// A change of a running VM's drive: the body of `PATCH /drives/{drive_id}`. Absent fields stay as they are.
///
/// With neither field it tells the guest to read a vhost-user drive's configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct BlockDeviceUpdateConfig")]
pub struct PartialDrive {
    /// The drive's id; the same as in the request's path.
    pub drive_id: String,
    /// Another file in its place; the guest is told of the new size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_on_host: Option<String>,
    /// New limits, bucket by bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// What a guest's flush does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum CacheType {
    /// Nothing: the device does not even offer it. Quick, and lost when the host dies.
    #[default]
    Unsafe,
    /// The host's page cache is written to the disk before the guest is answered.
    Writeback,
}

/// How the server reads and writes a drive's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(expecting = "enum FileEngineType")]
pub enum IoEngine {
    /// Through `io_uring`, on hosts with Linux 5.10.51 or later.
    Async,
    /// With blocking calls.
    #[default]
    Sync,
}
