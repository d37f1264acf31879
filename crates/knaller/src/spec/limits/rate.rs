//! So much a second.

use firecracker_api::models::TokenBucket;
use serde::{Deserialize, Serialize};

use super::InvalidLimits;

/// The time in which a bucket without a burst is full again, in milliseconds: short enough that a limit is felt as a
/// rate and not as gusts, long enough that a bucket holds a few of the largest frames.
const REFILL_MS: u64 = 100;

/// The most seconds' worth of a rate that may pass at once.
const LONGEST_BURST: u64 = 3_600;

/// So much a second, in bytes or operations, as the field says that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    per_second: u64,
    /// What may pass at once after a rest; a tenth of a second's worth if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u64>,
}

impl Rate {
    #[must_use]
    pub fn new(per_second: u64) -> Self {
        Self {
            per_second,
            burst: None,
        }
    }

    /// What may pass at once after a rest: from a second's worth to an hour's.
    #[must_use]
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    #[must_use]
    pub fn per_second(&self) -> u64 {
        self.per_second
    }

    #[must_use]
    pub fn at_once(&self) -> Option<u64> {
        self.burst
    }

    pub(super) fn validate(&self, what: &'static str) -> Result<(), InvalidLimits> {
        if self.per_second == 0 {
            return Err(InvalidLimits::NoRate { what });
        }
        let longest = self.per_second.saturating_mul(LONGEST_BURST);
        match self.burst {
            Some(burst) if !(self.per_second..=longest).contains(&burst) => {
                Err(InvalidLimits::Burst { what })
            }
            _ => Ok(()),
        }
    }

    /// The bucket that lets this much through: what may pass at once is what it holds.
    pub(crate) fn bucket(&self) -> TokenBucket {
        let tenth = self.per_second / (1_000 / REFILL_MS);
        let size = self.burst.unwrap_or(tenth).max(1);
        // Of a rate that is valid, at most an hour.
        let refill = u128::from(size) * 1_000 / u128::from(self.per_second.max(1));
        TokenBucket {
            size,
            one_time_burst: None,
            refill_time: u64::try_from(refill).unwrap_or(u64::MAX).max(1),
        }
    }
}

/// The bucket that lets everything through, which takes a limit away (Firecracker's `PATCH`: a bucket of size 0).
pub(crate) fn open(rate: Option<Rate>) -> TokenBucket {
    rate.map_or_else(TokenBucket::default, |rate| rate.bucket())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_a_bucket_of_a_tenth_of_a_second() {
        let bucket = Rate::new(1_000_000).bucket();
        assert_eq!((bucket.size, bucket.refill_time), (100_000, 100));
        let slow = Rate::new(3).bucket();
        assert_eq!((slow.size, slow.refill_time), (1, 333));
        let burst = Rate::new(1_000_000).burst(5_000_000).bucket();
        assert_eq!((burst.size, burst.refill_time), (5_000_000, 5_000));
        assert!(!open(None).limits());
    }

    proptest! {
        #[test]
        fn what_is_valid_limits_to_what_it_says(per_second in 1u64..1 << 50, seconds in 1u64..=3_600, bursts in any::<bool>()) {
            let rate = Rate { per_second, burst: bursts.then_some(per_second * seconds) };
            prop_assert_eq!(rate.validate("x"), Ok(()));
            let bucket = rate.bucket();
            prop_assert!(bucket.limits());
            // Milliseconds are coarse: a third of a second is 333 of them. Never slower than said.
            let given = bucket.per_second().unwrap();
            prop_assert!(given + 1 >= per_second - per_second / 10, "{given} of {per_second}");
            prop_assert!(given <= per_second + per_second / 50 + 1, "{given} of {per_second}");
        }

        #[test]
        fn any_rate_has_a_bucket(per_second: u64, burst: Option<u64>) {
            let _ = Rate { per_second, burst }.bucket();
        }
    }
}
