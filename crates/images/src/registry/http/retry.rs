//! Trying again.
//!
//! The invariant: what cannot get better is not repeated; what can is repeated a limited number of times, each time after a
//! longer pause, and never sooner than the other side asked.

use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822::DateTimeParser;

use crate::registry::config::Patience;
use crate::registry::error::RegistryError;

/// A failure, and whether to try again.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: RegistryError,
    pub(crate) again: Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    Later,
    /// Not before this has passed.
    After(Duration),
}

/// Whatever nobody says more of has no second try.
impl<E: Into<RegistryError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            again: Again::Never,
        }
    }
}

impl Trouble {
    pub(crate) fn passing(error: RegistryError) -> Self {
        Self {
            error,
            again: Again::Later,
        }
    }

    pub(crate) fn is_final(&self) -> bool {
        self.again == Again::Never
    }

    /// How long to wait after `failures` in a row; `None`: it is over.
    pub(crate) fn pause(&self, failures: u32, patience: &Patience) -> Option<Duration> {
        if failures >= patience.attempts {
            return None;
        }
        match self.again {
            Again::Never => None,
            Again::Later => Some(back_off(failures, patience, chance())),
            Again::After(asked) if asked > patience.longest_pause => None,
            Again::After(asked) => Some(asked.max(back_off(failures, patience, chance()))),
        }
    }
}

/// So much of progress makes up for the failures before it. Bytes.
const FORGIVEN: u64 = 1024 * 1024;

/// How often a transfer failed without getting on.
#[derive(Debug)]
pub(crate) struct Failures {
    count: u32,
    farthest: u64,
}

impl Failures {
    /// Of a transfer that stands at so many bytes.
    pub(crate) fn from(position: u64) -> Self {
        Self {
            count: 0,
            farthest: position,
        }
    }

    /// One more, at so many bytes. The answer: how many in a row.
    pub(crate) fn count(&mut self, position: u64) -> u32 {
        // Farther than ever before: who begins anew each time gets nowhere.
        if position >= self.farthest.saturating_add(FORGIVEN) {
            self.count = 0;
            self.farthest = position;
        }
        self.count += 1;
        self.count
    }
}

/// `chance` between 0 and 1.
fn back_off(failures: u32, patience: &Patience, chance: f64) -> Duration {
    let doubled = patience
        .first_wait
        .saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(patience.longest_wait).mul_f64(1.0 - chance / 2.0)
}

fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without a random number the pause is the longest.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// Does `step` until it succeeds or there is no sense in going on. `on_wait` hears of each pause and its reason.
pub(crate) async fn persistently<T>(
    patience: &Patience,
    on_wait: impl Fn(&RegistryError, Duration),
    mut step: impl AsyncFnMut() -> Result<T, Trouble>,
) -> Result<T, RegistryError> {
    let mut failures = 0;
    loop {
        let trouble = match step().await {
            Ok(done) => return Ok(done),
            Err(trouble) => trouble,
        };
        failures += 1;
        let Some(pause) = trouble.pause(failures, patience) else {
            return Err(trouble.error);
        };
        on_wait(&trouble.error, pause);
        tokio::time::sleep(pause).await;
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits to count are as good as for ever.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = DateTimeParser::new().parse_timestamp(value).ok()?;
    // A date that has passed: at once.
    Some(SystemTime::from(date).duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates() {
        let now: jiff::Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(
                retry_after(value, now.into()),
                seconds.map(Duration::from_secs),
                "{value}"
            );
        }
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let patience = Patience::default();
        let pauses: Vec<_> = (1..9).map(|n| back_off(n, &patience, 0.0).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
        assert_eq!(back_off(1, &patience, 1.0).as_millis(), 250);
        assert!(back_off(u32::MAX, &patience, 0.5) <= patience.longest_wait);
    }

    #[test]
    fn when_it_is_over() {
        let patience = Patience::default();
        let trouble = |again| Trouble {
            error: RegistryError::NoTag(String::new()),
            again,
        };
        assert_eq!(trouble(Again::Never).pause(1, &patience), None);
        assert!(
            trouble(Again::Later)
                .pause(patience.attempts, &patience)
                .is_none()
        );
        let asked = Duration::from_secs(100);
        assert_eq!(trouble(Again::After(asked)).pause(1, &patience), Some(asked));
        assert_eq!(trouble(Again::After(asked * 2)).pause(1, &patience), None);
    }
}
