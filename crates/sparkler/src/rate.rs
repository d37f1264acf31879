//! A token bucket, as Firecracker's rate limiters are made of.
//!
//! Invariant: over any span of time no more tokens are taken than the one-time burst, the bucket's size and what was
//! refilled in that span together; a request larger than the bucket is lent the rest, once, and nothing more is given
//! before that is paid back. The clock is given by the caller, so the bucket is a value that can be tested.

use std::time::{Duration, Instant};

use firecracker_api::models::TokenBucket as Config;

/// A bucket that fills by itself.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    size: u64,
    refill: Duration,
    burst: u64,
    level: u64,
    debt: u64,
    /// When the level was right, and by how much of a token more: in tokens times `refill`'s nanoseconds, so that
    /// nothing is ever rounded.
    filled: Instant,
    part: u128,
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
            debt: 0,
            filled: now,
            part: 0,
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

    /// How long until [`TokenBucket::spend`] may be called for so many tokens; zero if now.
    pub fn wait(&mut self, wanted: u64, now: Instant) -> Duration {
        self.fill(now);
        let beyond_burst = wanted.saturating_sub(self.burst);
        // More than the bucket holds will never be in it: as in Firecracker such a request need only find no debt.
        let needed = if beyond_burst > self.size { 0 } else { beyond_burst };
        let missing = u128::from(self.debt) + u128::from(needed.saturating_sub(self.level));
        if missing == 0 {
            return Duration::ZERO;
        }
        let nanos = (missing * self.refill.as_nanos() - self.part).div_ceil(u128::from(self.size));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes all of the tokens, on credit where the bucket is too small for them.
    pub fn spend(&mut self, tokens: u64, now: Instant) {
        let taken = self.take(tokens, now);
        self.debt += tokens - taken;
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = self.filled.max(now);
        let refill = self.refill.as_nanos();
        let filled = passed
            .as_nanos()
            .saturating_mul(u128::from(self.size))
            .saturating_add(self.part);
        let tokens = filled / refill;
        if tokens >= u128::from(self.debt) + u128::from(self.size - self.level) {
            self.debt = 0;
            self.level = self.size;
            self.part = 0;
            return;
        }
        self.part = filled % refill;
        let tokens = u64::try_from(tokens).unwrap_or(u64::MAX);
        let repaid = tokens.min(self.debt);
        self.debt -= repaid;
        self.level += tokens - repaid;
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

    proptest! {
        #[test]
        fn who_waits_as_told_never_gets_more_than_the_rate(
            size in 1u64..10_000,
            burst in 0u64..10_000,
            refill_time in 1u64..5_000,
            requests in prop::collection::vec((1u64..20_000, 0u64..2_000_000), 1..50),
        ) {
            let start = Instant::now();
            let config = Config { size, one_time_burst: Some(burst), refill_time };
            let mut bucket = TokenBucket::new(&config, start).unwrap();
            let (mut spent, mut now) = (0u128, start);
            for (tokens, micros) in requests {
                now += Duration::from_micros(micros);
                let wait = bucket.wait(tokens, now);
                if !wait.is_zero() {
                    let early = now + wait - Duration::from_nanos(1);
                    prop_assert!(early <= now || !bucket.wait(tokens, early).is_zero(), "told to wait too long");
                    now += wait;
                }
                prop_assert!(bucket.wait(tokens, now).is_zero(), "told to wait too short");
                bucket.spend(tokens, now);
                spent += u128::from(tokens);
                let refilled = (now - start).as_nanos() * u128::from(size) / (u128::from(refill_time) * 1_000_000);
                let lent = if tokens > size { u128::from(tokens) } else { 0 };
                prop_assert!(spent <= u128::from(size + burst) + refilled + lent);
            }
        }
    }

    #[test]
    fn a_request_larger_than_the_bucket_passes_and_is_paid_back() {
        let start = Instant::now();
        let config = Config {
            size: 100,
            one_time_burst: None,
            refill_time: 1000,
        };
        let mut bucket = TokenBucket::new(&config, start).unwrap();
        assert_eq!(bucket.wait(350, start), Duration::ZERO);
        bucket.spend(350, start);
        assert_eq!(bucket.wait(1, start), Duration::from_millis(2510));
        assert_eq!(bucket.wait(350, start), Duration::from_millis(2500));
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
