//! The balloon of a running machine.
//!
//! Invariant: sizes are those of Firecracker's API, what the balloon takes; QEMU counts what it leaves to the guest.

use firecracker_api::models::{Balloon, BalloonStats};
use serde_json::Value;

use super::running::Running;
use crate::qemu::qmp::QmpError;
use crate::qemu::qmp::command::{Balloon as SetBalloon, QomGet, QomSet, QueryBalloon};

/// QEMU's path to the device of this id.
const PATH: &str = "/machine/peripheral/balloon";
const MIB: u64 = 1 << 20;
/// Bytes of the pages a balloon counts in.
const PAGE: u64 = 4096;

impl Running {
    /// Gives a balloon of a machine just started its size and interval.
    pub(super) async fn set_up_balloon(
        &mut self,
        balloon: &Balloon,
        memory_mib: usize,
    ) -> Result<(), QmpError> {
        if balloon.amount_mib > 0 {
            self.set_balloon(balloon.amount_mib, memory_mib).await?;
        }
        if balloon.stats_polling_interval_s > 0 {
            self.set_balloon_interval(balloon.stats_polling_interval_s)
                .await?;
        }
        Ok(())
    }

    /// Asks the guest to give up this much memory.
    pub(super) async fn set_balloon(&mut self, amount_mib: u32, memory_mib: usize) -> Result<(), QmpError> {
        // QEMU takes no zero; a guest left with one page is as much without memory.
        let value = (memory_mib as u64)
            .saturating_sub(u64::from(amount_mib))
            .saturating_mul(MIB)
            .max(PAGE);
        self.qmp.execute(&SetBalloon { value }).await.map(drop)
    }

    /// Sets how often the guest is asked for its statistics, in seconds.
    pub(super) async fn set_balloon_interval(&mut self, seconds: u16) -> Result<(), QmpError> {
        let property = "guest-stats-polling-interval".to_owned();
        self.qmp
            .execute(&QomSet {
                path: PATH.to_owned(),
                property,
                value: seconds.into(),
            })
            .await
            .map(drop)
    }

    /// The latest statistics.
    pub(super) async fn balloon_statistics(
        &mut self,
        target_mib: u32,
        memory_mib: usize,
    ) -> Result<BalloonStats, QmpError> {
        let left = self.qmp.execute(&QueryBalloon {}).await?.actual;
        let property = "guest-stats".to_owned();
        let answer = self
            .qmp
            .execute(&QomGet {
                path: PATH.to_owned(),
                property,
            })
            .await?;
        let taken = (memory_mib as u64 * MIB).saturating_sub(left);
        Ok(statistics(
            target_mib,
            taken,
            answer.get("stats").unwrap_or(&Value::Null),
        ))
    }
}

/// QEMU's names of the statistics (`balloon_stat_names` in `hw/virtio/virtio-balloon.c`); one the guest has not told is
/// all ones.
fn statistics(target_mib: u32, taken: u64, told: &Value) -> BalloonStats {
    let stat = |name: &str| {
        told.get(name)
            .and_then(Value::as_u64)
            .filter(|value| *value != u64::MAX)
    };
    BalloonStats {
        target_pages: narrow(u64::from(target_mib) * (MIB / PAGE)),
        actual_pages: narrow(taken / PAGE),
        target_mib,
        actual_mib: narrow(taken / MIB),
        swap_in: stat("stat-swap-in"),
        swap_out: stat("stat-swap-out"),
        major_faults: stat("stat-major-faults"),
        minor_faults: stat("stat-minor-faults"),
        free_memory: stat("stat-free-memory"),
        total_memory: stat("stat-total-memory"),
        available_memory: stat("stat-available-memory"),
        disk_caches: stat("stat-disk-caches"),
        hugetlb_allocations: stat("stat-htlb-pgalloc"),
        hugetlb_failures: stat("stat-htlb-pgfail"),
        ..BalloonStats::default()
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untold_statistics_are_absent() {
        let told = serde_json::json!({
            "stat-free-memory": 5u64 << 20,
            "stat-swap-in": u64::MAX,
            "stat-major-faults": "many",
        });
        let stats = statistics(10, 3 * MIB, &told);
        assert_eq!((stats.target_pages, stats.actual_pages), (2560, 768));
        assert_eq!((stats.target_mib, stats.actual_mib), (10, 3));
        assert_eq!(
            (stats.free_memory, stats.swap_in, stats.major_faults),
            (Some(5 << 20), None, None)
        );
    }
}
