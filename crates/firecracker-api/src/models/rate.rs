//! Token buckets: how every rate in the API is limited.
//!
//! The invariant: a bucket that cannot limit (no size, no refill time, or a refill time beyond what nanoseconds can
//! count) means "no limit", never an error.

use serde::{Deserialize, Serialize};

/// A bucket that holds `size` tokens and is refilled evenly within `refill_time`.
///
/// The rate is `size / refill_time`. The tokens of `one_time_burst` come on top, are spent first and never come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(expecting = "struct TokenBucketConfig")]
pub struct TokenBucket {
    /// Tokens the bucket holds: bytes or operations. 0 means no limit.
    pub size: u64,
    /// Tokens that may be spent once, before the bucket itself is touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_time_burst: Option<u64>,
    /// Milliseconds in which an empty bucket is full again. 0 means no limit.
    pub refill_time: u64,
}

impl TokenBucket {
    /// Whether this bucket limits anything (`TokenBucket::new` in Firecracker's `rate_limiter/mod.rs`).
    #[must_use]
    pub fn limits(&self) -> bool {
        self.size > 0 && self.refill_time > 0 && self.refill_time.checked_mul(1_000_000).is_some()
    }

    /// Tokens a second once the burst is spent, rounded to the nearest; `None` where nothing is limited.
    #[must_use]
    pub fn per_second(&self) -> Option<u64> {
        if !self.limits() {
            return None;
        }
        let time = u128::from(self.refill_time);
        let tokens = (u128::from(self.size) * 1000 + time / 2) / time;
        Some(u64::try_from(tokens).unwrap_or(u64::MAX))
    }

    /// This bucket as Firecracker reports it: a burst of 0 is no burst; `None` where nothing is limited.
    #[must_use]
    pub fn in_force(&self) -> Option<Self> {
        self.limits().then_some(Self {
            one_time_burst: self.one_time_burst.filter(|burst| *burst > 0),
            ..*self
        })
    }
}

/// Limits on bytes and on operations, independent of each other.
///
/// In an update (`PATCH`) an absent bucket stays as it was; one that limits nothing removes the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct RateLimiterConfig")]
pub struct RateLimiter {
    /// Tokens are bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<TokenBucket>,
    /// Tokens are operations: requests of a drive, frames of a network interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<TokenBucket>,
}

impl RateLimiter {
    /// The limits that hold, as Firecracker reports them; `None` if there are none.
    #[must_use]
    pub fn in_force(&self) -> Option<Self> {
        let bandwidth = self.bandwidth.and_then(|bucket| bucket.in_force());
        let ops = self.ops.and_then(|bucket| bucket.in_force());
        (bandwidth.is_some() || ops.is_some()).then_some(Self { bandwidth, ops })
    }

    /// These limits after `update`: its buckets replace ours, absent ones leave them.
    #[must_use]
    pub fn updated(&self, update: &Self) -> Self {
        Self {
            bandwidth: update.bandwidth.or(self.bandwidth),
            ops: update.ops.or(self.ops),
        }
    }
}
