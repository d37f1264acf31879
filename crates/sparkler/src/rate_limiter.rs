//! A limit on bytes and one on operations, together: what a network interface's frames pass through.
//!
//! Invariant: an operation passes only when both limits let it, and then both are charged; one that has to wait has
//! cost nothing.

use std::time::{Duration, Instant};

use firecracker_api::models;

use crate::rate::TokenBucket;

/// See the [module](self). One without buckets lets everything pass.
#[derive(Debug, Clone, Default)]
pub struct RateLimiter {
    bytes: Option<TokenBucket>,
    operations: Option<TokenBucket>,
}

impl RateLimiter {
    /// Full buckets, as configured.
    #[must_use]
    pub fn new(config: Option<&models::RateLimiter>, now: Instant) -> Self {
        let mut limiter = Self::default();
        if let Some(config) = config {
            limiter.update(config, now);
        }
        limiter
    }

    /// Whether it limits anything.
    #[must_use]
    pub fn limits(&self) -> bool {
        self.bytes.is_some() || self.operations.is_some()
    }

    /// New buckets in place of those the configuration names, full ones; one that limits nothing takes a limit away, one
    /// that is not named stays as it is. So `PATCH` works in Firecracker (`RateLimiter::update_buckets`).
    pub fn update(&mut self, config: &models::RateLimiter, now: Instant) {
        if let Some(bucket) = &config.bandwidth {
            self.bytes = TokenBucket::new(bucket, now);
        }
        if let Some(bucket) = &config.ops {
            self.operations = TokenBucket::new(bucket, now);
        }
    }

    /// Lets one operation of so many bytes pass, or says how long it has to wait.
    pub fn pass(&mut self, bytes: u64, now: Instant) -> Result<(), Duration> {
        let mut wait = Duration::ZERO;
        for (bucket, tokens) in [(&mut self.bytes, bytes), (&mut self.operations, 1)] {
            if let Some(bucket) = bucket {
                wait = wait.max(bucket.wait(tokens, now));
            }
        }
        if !wait.is_zero() {
            return Err(wait);
        }
        for (bucket, tokens) in [(&mut self.bytes, bytes), (&mut self.operations, 1)] {
            if let Some(bucket) = bucket {
                bucket.spend(tokens, now);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use firecracker_api::models::TokenBucket as Bucket;

    use super::*;

    fn bucket(size: u64) -> Option<Bucket> {
        Some(Bucket {
            size,
            one_time_burst: None,
            refill_time: 1000,
        })
    }

    #[test]
    fn both_limits_count_and_the_stricter_decides() {
        let now = Instant::now();
        let config = models::RateLimiter {
            bandwidth: bucket(1000),
            ops: bucket(2),
        };
        let mut limiter = RateLimiter::new(Some(&config), now);
        assert_eq!(limiter.pass(400, now), Ok(()));
        // Too many bytes: the operation is not charged either.
        assert_eq!(limiter.pass(700, now), Err(Duration::from_millis(100)));
        assert_eq!(limiter.pass(600, now), Ok(()));
        assert_eq!(limiter.pass(0, now), Err(Duration::from_millis(500)));
        assert_eq!(limiter.pass(500, now + Duration::from_millis(500)), Ok(()));
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let now = Instant::now();
        let config = models::RateLimiter {
            bandwidth: bucket(1000),
            ops: bucket(1),
        };
        let mut limiter = RateLimiter::new(Some(&config), now);
        assert_eq!(limiter.pass(1000, now), Ok(()));
        limiter.update(
            &models::RateLimiter {
                bandwidth: None,
                ops: bucket(0),
            },
            now,
        );
        assert!(limiter.pass(1, now).is_err());
        limiter.update(
            &models::RateLimiter {
                bandwidth: bucket(5),
                ops: None,
            },
            now,
        );
        assert_eq!(limiter.pass(5, now), Ok(()));
        limiter.update(
            &models::RateLimiter {
                bandwidth: bucket(0),
                ops: None,
            },
            now,
        );
        assert!(!limiter.limits());
        assert_eq!(limiter.pass(u64::MAX, now), Ok(()));
    }
}
