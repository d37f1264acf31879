//! From the ends of checks to a state of health, as Docker does it (moby, daemon/health.go): a state machine without a clock.
//!
//! The invariant: a success makes healthy at once; only as many failures in a row as were asked for make unhealthy, and those
//! of checks that began while everything was still starting do not count.

use std::time::Duration;

use guest_protocol::Health;
use guest_protocol::control::HealthState;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// The state and the rules for it. Times are since the guest's boot.
#[derive(Clone, Debug)]
pub(super) struct Monitor {
    interval: Duration,
    timeout: Duration,
    start_interval: Duration,
    /// Until then failures do not count, as long as there was no success.
    start_until: Duration,
    retries: u32,
    state: HealthState,
    streak: u32,
}

impl Monitor {
    /// For something that `started` then.
    pub(super) fn new(health: &Health, started: Duration) -> Self {
        let or = |ms: u64, default| {
            if ms == 0 {
                default
            } else {
                Duration::from_millis(ms)
            }
        };
        Self {
            interval: or(health.interval_ms, INTERVAL),
            timeout: or(health.timeout_ms, TIMEOUT),
            start_interval: or(health.start_interval_ms, START_INTERVAL),
            start_until: started.saturating_add(Duration::from_millis(health.start_period_ms)),
            retries: if health.retries == 0 {
                RETRIES
            } else {
                health.retries
            },
            state: HealthState::Starting,
            streak: 0,
        }
    }

    /// Goes on from what was before.
    pub(super) fn resume(&mut self, state: HealthState, streak: u32) {
        (self.state, self.streak) = (state, streak);
    }

    /// How long a check may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn streak(&self) -> u32 {
        self.streak
    }

    fn starting(&self, at: Duration) -> bool {
        self.state == HealthState::Starting && at < self.start_until
    }

    /// From `now` to the next check.
    pub(super) fn pause(&self, now: Duration) -> Duration {
        if self.starting(now) {
            self.start_interval
        } else {
            self.interval
        }
    }

    /// A check that `began` then has ended.
    pub(super) fn take(&mut self, began: Duration, success: bool) -> HealthState {
        if success {
            self.streak = 0;
            self.state = HealthState::Healthy;
        } else if !self.starting(began) {
            self.streak = self.streak.saturating_add(1);
            if self.streak >= self.retries {
                self.state = HealthState::Unhealthy;
            }
        }
        self.state
    }
}

#[cfg(test)]
mod tests {
    use guest_protocol::HealthTest;
    use proptest::prelude::*;

    use super::*;

    fn monitor(start_period_ms: u64, retries: u32) -> Monitor {
        let health = Health {
            test: HealthTest::Shell("true".into()),
            interval_ms: 10_000,
            timeout_ms: 0,
            start_period_ms,
            start_interval_ms: 1_000,
            retries,
            user: String::new(),
            workdir: String::new(),
        };
        Monitor::new(&health, Duration::from_secs(100))
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_said_means_dockers_defaults() {
        let mut monitor = monitor(0, 0);
        assert_eq!((monitor.timeout(), monitor.pause(at(100))), (at(30), at(10)));
        let states = [(); 4].map(|()| monitor.take(at(110), false));
        assert_eq!(
            states,
            [
                HealthState::Starting,
                HealthState::Starting,
                HealthState::Unhealthy,
                HealthState::Unhealthy
            ]
        );
        assert_eq!(monitor.streak(), 4);
    }

    #[test]
    fn failures_while_starting_do_not_count() {
        let mut monitor = monitor(60_000, 1);
        assert_eq!(monitor.pause(at(100)), at(1));
        assert_eq!(monitor.take(at(159), false), HealthState::Starting);
        assert_eq!(monitor.streak(), 0);
        assert_eq!(monitor.pause(at(160)), at(10));
        assert_eq!(monitor.take(at(160), false), HealthState::Unhealthy);
    }

    #[test]
    fn the_first_success_ends_the_start() {
        let mut monitor = monitor(60_000, 2);
        assert_eq!(monitor.take(at(110), true), HealthState::Healthy);
        assert_eq!(monitor.pause(at(110)), at(10));
        assert_eq!(monitor.take(at(120), false), HealthState::Healthy);
        assert_eq!(monitor.take(at(130), false), HealthState::Unhealthy);
        assert_eq!(monitor.take(at(140), true), HealthState::Healthy);
        assert_eq!(monitor.streak(), 0);
    }

    proptest! {
        #[test]
        fn unhealthy_is_as_many_failures_in_a_row_as_asked_for(
            retries in 1u32..5,
            results in prop::collection::vec(any::<bool>(), 0..30),
        ) {
            let mut monitor = monitor(0, retries);
            let mut failures = 0;
            for success in results {
                failures = if success { 0 } else { failures + 1 };
                let state = monitor.take(at(200), success);
                prop_assert_eq!(state == HealthState::Unhealthy, failures >= retries);
                prop_assert_eq!(state == HealthState::Healthy, failures < retries && monitor.state == HealthState::Healthy);
                prop_assert_eq!(monitor.streak(), failures);
            }
        }
    }
}
