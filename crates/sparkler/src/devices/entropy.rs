//! The entropy device's limit.
//!
//! Invariant: the guest gets no more bytes than the stricter of its two buckets allows. QEMU counts bytes only, so an
//! operation is taken for the most that Linux's driver asks for at once; a one-time burst cannot be expressed and is not
//! granted.

use firecracker_api::models::RateLimiter;

/// Bytes of one request of Linux's driver (`drivers/char/hw_random/virtio-rng.c`: a cache line).
const BYTES_PER_OPERATION: u64 = 64;

/// What QEMU's device takes: so many bytes in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds.
    pub period_ms: u32,
}

impl Quota {
    /// The quota that stands for a limiter; none if it limits nothing.
    #[must_use]
    pub fn new(limiter: &RateLimiter) -> Option<Self> {
        let quota = |bucket: firecracker_api::models::TokenBucket, bytes_per_token: u64| {
            bucket.limits().then(|| Self {
                bytes: bucket
                    .size
                    .saturating_mul(bytes_per_token)
                    .min(i64::MAX.unsigned_abs()),
                period_ms: u32::try_from(bucket.refill_time).unwrap_or(u32::MAX),
            })
        };
        let bandwidth = limiter.bandwidth.and_then(|bucket| quota(bucket, 1));
        let operations = limiter.ops.and_then(|bucket| quota(bucket, BYTES_PER_OPERATION));
        bandwidth
            .into_iter()
            .chain(operations)
            .min_by_key(Self::bytes_per_hour)
    }

    fn bytes_per_hour(&self) -> u128 {
        u128::from(self.bytes) * 3_600_000 / u128::from(self.period_ms.max(1))
    }
}

#[cfg(test)]
mod tests {
    use firecracker_api::models::TokenBucket;

    use super::*;

    #[test]
    fn the_stricter_bucket_counts() {
        let bucket = |size, refill_time| {
            Some(TokenBucket {
                size,
                one_time_burst: None,
                refill_time,
            })
        };
        let quota = |bandwidth, ops| Quota::new(&RateLimiter { bandwidth, ops });
        let expected = |bytes, period_ms| Some(Quota { bytes, period_ms });
        assert_eq!(quota(None, None), None);
        assert_eq!(quota(bucket(0, 100), None), None);
        assert_eq!(quota(bucket(4096, 100), None), expected(4096, 100));
        assert_eq!(quota(None, bucket(10, 100)), expected(640, 100));
        assert_eq!(quota(bucket(4096, 100), bucket(10, 100)), expected(640, 100));
        assert_eq!(quota(bucket(100, 1000), bucket(10, 100)), expected(100, 1000));
        assert_eq!(
            quota(bucket(u64::MAX, u64::MAX / 2_000_000), None),
            expected(i64::MAX as u64, u32::MAX)
        );
    }
}
