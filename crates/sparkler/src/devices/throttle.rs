//! Firecracker's token buckets as the limits of a QEMU throttle group.
//!
//! Invariant: over time no more goes through than the bucket refills. What a bucket allows at once differs: QEMU's
//! leaky bucket holds `size` at once where the refill takes a second or more, and a tenth of a second's worth
//! otherwise; a one-time burst cannot be expressed and is not granted (stricter, never laxer).
//!
//! Source: QEMU's `docs/throttle.txt` and `util/throttle.c`.

use firecracker_api::models::{RateLimiter, TokenBucket};
use serde::Serialize;

/// QEMU refuses limits above this (`THROTTLE_VALUE_MAX`).
const MAX_LIMIT: u64 = 1_000_000_000_000_000;

/// Limits of a throttle group; zero means none. Every field is always sent, since a field left out keeps its value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    bps_total: u64,
    bps_total_max: u64,
    bps_total_max_length: u64,
    iops_total: u64,
    iops_total_max: u64,
    iops_total_max_length: u64,
}

impl Limits {
    /// The limits that stand for a rate limiter.
    #[must_use]
    pub fn new(limiter: Option<&RateLimiter>) -> Self {
        let bytes = Bucket::new(limiter.and_then(|limiter| limiter.bandwidth.as_ref()));
        let ops = Bucket::new(limiter.and_then(|limiter| limiter.ops.as_ref()));
        Self {
            bps_total: bytes.rate,
            bps_total_max: bytes.burst,
            bps_total_max_length: 1,
            iops_total: ops.rate,
            iops_total_max: ops.burst,
            iops_total_max_length: 1,
        }
    }
}

#[derive(Debug, Default)]
struct Bucket {
    rate: u64,
    burst: u64,
}

impl Bucket {
    fn new(bucket: Option<&TokenBucket>) -> Self {
        let Some((bucket, rate)) = bucket.and_then(|bucket| Some((bucket, bucket.per_second()?))) else {
            return Self::default();
        };
        let rate = rate.clamp(1, MAX_LIMIT);
        // QEMU wants a burst no smaller than the rate, so a bucket smaller than a second's worth has none.
        let burst = if bucket.size > rate {
            bucket.size.min(MAX_LIMIT)
        } else {
            0
        };
        Self { rate, burst }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(size: u64, refill_time: u64) -> TokenBucket {
        TokenBucket {
            size,
            one_time_burst: None,
            refill_time,
        }
    }

    #[test]
    fn nothing_configured_is_no_limit() {
        let none = Limits {
            bps_total_max_length: 1,
            iops_total_max_length: 1,
            ..Limits::default()
        };
        assert_eq!(Limits::new(None), none);
        assert_eq!(Limits::new(Some(&RateLimiter::default())), none);
        let off = RateLimiter {
            bandwidth: Some(bucket(0, 0)),
            ops: Some(bucket(5, 0)),
        };
        assert_eq!(Limits::new(Some(&off)), none);
    }

    #[test]
    fn a_slow_bucket_keeps_its_size_as_burst() {
        let limiter = RateLimiter {
            bandwidth: Some(bucket(10_000_000, 10_000)),
            ops: Some(bucket(50, 100)),
        };
        let limits = Limits::new(Some(&limiter));
        assert_eq!((limits.bps_total, limits.bps_total_max), (1_000_000, 10_000_000));
        assert_eq!((limits.iops_total, limits.iops_total_max), (500, 0));
    }

    proptest! {
        #[test]
        fn qemu_takes_every_limit(size in any::<u64>(), refill in any::<u64>()) {
            let Bucket { rate, burst } = Bucket::new(Some(&bucket(size, refill)));
            prop_assert!(rate <= MAX_LIMIT && burst <= MAX_LIMIT);
            prop_assert!(burst == 0 || burst >= rate);
        }
    }
}
