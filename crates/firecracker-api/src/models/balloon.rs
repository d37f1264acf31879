//! The memory balloon, its statistics and free page hinting.

use serde::{Deserialize, Serialize};

use super::is_off;

/// A virtio-balloon device: the body of `PUT /balloon` and the answer to `GET /balloon`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct BalloonDeviceConfig")]
pub struct Balloon {
    /// MiB to take from the guest, at most its memory.
    pub amount_mib: u32,
    /// Whether the guest may take pages back when it runs out of memory.
    pub deflate_on_oom: bool,
    /// Seconds between two readings of the statistics; 0 switches them off for good.
    #[serde(default)]
    pub stats_polling_interval_s: u16,
    /// Whether `/balloon/hinting/*` may be used. Since 1.14.
    #[serde(default, skip_serializing_if = "is_off")]
    pub free_page_hinting: bool,
    /// Whether the guest reports its free pages by itself. Since 1.14, developer preview.
    #[serde(default, skip_serializing_if = "is_off")]
    pub free_page_reporting: bool,
}

/// A new size for a running VM's balloon: the body of `PATCH /balloon`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct BalloonUpdateConfig")]
pub struct BalloonUpdate {
    /// MiB to take from the guest, at most its memory.
    pub amount_mib: u32,
}

/// A new interval for the statistics: the body of `PATCH /balloon/statistics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct BalloonUpdateStatsConfig")]
pub struct BalloonStatsUpdate {
    /// Seconds. From 0 to more, or the other way, is refused: statistics are on or off from boot.
    pub stats_polling_interval_s: u16,
}

/// The answer to `GET /balloon/statistics`. What the guest's driver does not report is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct BalloonStats {
    /// 4 KiB pages the balloon should hold.
    pub target_pages: u32,
    /// 4 KiB pages it holds.
    pub actual_pages: u32,
    /// MiB the balloon should hold.
    pub target_mib: u32,
    /// MiB it holds.
    pub actual_mib: u32,
    /// Bytes swapped in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_in: Option<u64>,
    /// Bytes swapped out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_out: Option<u64>,
    /// Page faults that needed I/O.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<u64>,
    /// Page faults that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor_faults: Option<u64>,
    /// Bytes used for nothing at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_memory: Option<u64>,
    /// Bytes of memory in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_memory: Option<u64>,
    /// Bytes a new program could have without swapping (an estimate).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_memory: Option<u64>,
    /// Bytes of caches that can be dropped without I/O.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_caches: Option<u64>,
    /// Huge pages allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugetlb_allocations: Option<u64>,
    /// Huge pages that could not be allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugetlb_failures: Option<u64>,
    /// Processes killed for want of memory. This and all that follow: since 1.14, guests with Linux 6.12 or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kill: Option<u64>,
    /// Allocations that had to wait for reclaim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alloc_stall: Option<u64>,
    /// Pages scanned in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub async_scan: Option<u64>,
    /// Pages scanned by the process that wanted memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_scan: Option<u64>,
    /// Pages reclaimed in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub async_reclaim: Option<u64>,
    /// Pages reclaimed by the process that wanted memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_reclaim: Option<u64>,
}

/// The (optional) body of `PATCH /balloon/hinting/start`. Since 1.14.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(expecting = "struct StartHintingCmd")]
pub struct BalloonStartCmd {
    /// Whether the server ends the run by itself when the guest is done.
    #[serde(default = "acknowledge")]
    pub acknowledge_on_stop: bool,
}

fn acknowledge() -> bool {
    true
}

impl Default for BalloonStartCmd {
    fn default() -> Self {
        Self {
            acknowledge_on_stop: acknowledge(),
        }
    }
}

/// The answer to `GET /balloon/hinting/status`. Since 1.14.
///
/// Commands are those of virtio's free page hinting: 0 stop, 1 done, 2 and more a run's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct BalloonHintingStatus {
    /// The host's last command.
    pub host_cmd: u32,
    /// The guest's last command, if it has given one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_cmd: Option<u32>,
}
