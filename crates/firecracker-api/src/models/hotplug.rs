//! Memory that is plugged into a running guest (virtio-mem). Since 1.14.

use serde::{Deserialize, Serialize};

/// The hot-pluggable region: the body of `PUT /hotplug/memory`.
///
/// Sizes obey `block <= slot <= total`, each a multiple of the one before (`MemoryHotplugConfig::check`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplugConfig {
    /// MiB that can be plugged in all; a multiple of the slot size.
    pub total_size_mib: u32,
    /// MiB the guest plugs at a time: a power of two, 2 or more.
    #[serde(default = "block_size")]
    pub block_size_mib: u32,
    /// MiB the host adds at a time: 128 or more, a multiple of the block size.
    #[serde(default = "slot_size")]
    pub slot_size_mib: u32,
}

impl MemoryHotplugConfig {
    /// The smallest block, and the default: 2 MiB.
    pub const MIN_BLOCK_MIB: u32 = 2;
    /// The smallest slot, and the default: 128 MiB.
    pub const MIN_SLOT_MIB: u32 = 128;

    /// A region of `total_size_mib` with the default block and slot sizes.
    #[must_use]
    pub fn new(total_size_mib: u32) -> Self {
        Self {
            total_size_mib,
            block_size_mib: Self::MIN_BLOCK_MIB,
            slot_size_mib: Self::MIN_SLOT_MIB,
        }
    }
}

fn block_size() -> u32 {
    MemoryHotplugConfig::MIN_BLOCK_MIB
}

fn slot_size() -> u32 {
    MemoryHotplugConfig::MIN_SLOT_MIB
}

/// How much of the region should be plugged: the body of `PATCH /hotplug/memory`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplugSizeUpdate {
    /// MiB; a multiple of the block size, at most the total. The guest follows in its own time.
    pub requested_size_mib: u32,
}

/// The answer to `GET /hotplug/memory`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct VirtioMemStatus")]
pub struct MemoryHotplugStatus {
    /// MiB the guest plugs at a time.
    pub block_size_mib: u32,
    /// MiB that can be plugged in all.
    pub total_size_mib: u32,
    /// MiB the host adds at a time.
    pub slot_size_mib: u32,
    /// MiB the guest has plugged.
    pub plugged_size_mib: u32,
    /// MiB it was last asked to plug.
    pub requested_size_mib: u32,
}
