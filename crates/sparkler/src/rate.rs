//! A token bucket, as Firecracker's rate limiters are made of.
//!
//! Invariant: over any span of time no more tokens are taken than the one-time burst, the bucket's size and what was
//! refilled in that span together. The clock is given by the caller, so the bucket is a value that can be tested.

use std::time::{Duration, Instant};

use firecracker_api::models::TokenBucket as Config;

/// A bucket that fills by itself.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    size: u64,
    refill: Duration,
    burst: u64,
    level: u64,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket; none if the configuration does not limit anything.
    #[must_use]
    pub fn new(config: &Config, now: Instant) -> Option<Self> {
        config.limits().then(|| Self {
            size: config.size,
            refill: Duration::from_millis(config.refill_time),
            burst: config.one_time_burst.unwrap_or(0),
            level: config.size,
            filled: now,
        })
    }

    /// Takes as many of the wanted tokens as there are.
    pub fn take(&mut self, wanted: u64, now: Instant) -> u64 {
        let from_burst = wanted.min(self.burst);
        self.burst -= from_burst;
        self.fill(now);
        let from_level = (wanted - from_burst).min(self.level);
        self.level -= from_level;
        from_burst + from_level
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        let tokens = passed.as_nanos().saturating_mul(u128::from(self.size)) / self.refill.as_nanos();
        if tokens == 0 {
            return;
        }
        let room = u128::from(self.size - self.level);
        if tokens >= room {
            self.level = self.size;
            self.filled = now;
            return;
        }
        // Only the time that whole tokens took is spent: the rest counts for the next one.
        let spent = tokens * self.refill.as_nanos() / u128::from(self.size);
        self.level += u64::try_from(tokens).unwrap_or(u64::MAX);
        self.filled += Duration::from_nanos(u64::try_from(spent).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_burst_size_and_refill(
            size in 1u64..10_000,
            burst in 0u64..10_000,
            refill_time in 1u64..5_000,
            steps in prop::collection::vec((0u64..20_000, 0u64..5_000_000), 1..50),
        ) {
            let start = Instant::now();
            let config = Config { size, one_time_burst: Some(burst), refill_time };
            let mut bucket = TokenBucket::new(&config, start).unwrap();
            let mut taken = 0;
            let mut now = start;
            for (wanted, micros) in steps {
                now += Duration::from_micros(micros);
                taken += bucket.take(wanted, now);
                let refilled = (now - start).as_nanos() * u128::from(size) / (u128::from(refill_time) * 1_000_000);
                prop_assert!(u128::from(taken) <= u128::from(size + burst) + refilled);
            }
        }
    }

    #[test]
    fn a_bucket_fills_again() {
        let start = Instant::now();
        let config = Config {
            size: 100,
            one_time_burst: Some(50),
            refill_time: 1000,
        };
        let mut bucket = TokenBucket::new(&config, start).unwrap();
        assert_eq!(bucket.take(200, start), 150);
        assert_eq!(bucket.take(1, start + Duration::from_millis(9)), 0);
        assert_eq!(bucket.take(1, start + Duration::from_millis(10)), 1);
        assert_eq!(bucket.take(1000, start + Duration::from_secs(60)), 100);
        assert!(
            TokenBucket::new(
                &Config {
                    size: 0,
                    one_time_burst: None,
                    refill_time: 1
                },
                start
            )
            .is_none()
        );
    }
}
