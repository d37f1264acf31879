//! Persistent-memory devices: files of the host mapped into the guest's address space.

use serde::{Deserialize, Serialize};

use super::RateLimiter;

/// A virtio-pmem device: the body of `PUT /pmem/{id}`. Since 1.14.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct PmemConfig")]
pub struct Pmem {
    /// Letters, digits and `_`; the same as in the request's path.
    pub id: String,
    /// The file that is mapped; its size is rounded up to 2 MiB for the guest.
    pub path_on_host: String,
    /// Whether the guest's root file system is on it (`root=/dev/pmem0`). Excludes a root drive.
    #[serde(default)]
    pub root_device: bool,
    /// Whether the file is mapped read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Limits on the guest's flushes. Since 1.16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}

/// A change of a running VM's device: the body of `PATCH /pmem/{id}`. Since 1.16.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct PmemDeviceUpdateConfig")]
pub struct PartialPmem {
    /// The device's id; the same as in the request's path.
    pub id: String,
    /// New limits, bucket by bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}
