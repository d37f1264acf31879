//! How an image says whether it is well.
//!
//! The OCI's configuration has no such field: this is Docker's (`HealthcheckConfig` in its API), which other builders write
//! too when asked for Docker's format.

use std::time::Duration;

use serde::Deserialize;

use super::lenient::or_default;

/// A command that is run again and again in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    /// The command and its arguments; a shell's line stands behind `/bin/sh -c`.
    pub command: Vec<String>,
    /// From the end of one run to the next.
    pub interval: Duration,
    /// A run that takes longer has failed.
    pub timeout: Duration,
    /// While it starts, failures do not count.
    pub start_period: Duration,
    /// The interval during that.
    pub start_interval: Duration,
    /// So many failures one after the other mean: not well.
    pub retries: u32,
}

/// As it stands in the configuration: times in nanoseconds, 0 for the default.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Raw {
    #[serde(deserialize_with = "or_default")]
    test: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    interval: i64,
    #[serde(deserialize_with = "or_default")]
    timeout: i64,
    #[serde(deserialize_with = "or_default")]
    start_period: i64,
    #[serde(deserialize_with = "or_default")]
    start_interval: i64,
    #[serde(deserialize_with = "or_default")]
    retries: i64,
}

impl Raw {
    /// `None` where there is nothing to run: `["NONE"]`, or nothing at all.
    pub(super) fn resolve(self) -> Option<Healthcheck> {
        let (kind, rest) = self.test.split_first()?;
        let command = match (kind.as_str(), rest) {
            ("CMD", [_, ..]) => rest.to_vec(),
            ("CMD-SHELL", [line, ..]) => ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            _ => return None,
        };
        // Docker's defaults (its `daemon/health.go`), which also stand for what makes no sense.
        let time = |nanoseconds: i64, default: u64| match u64::try_from(nanoseconds) {
            Ok(nanoseconds @ 1..) => Duration::from_nanos(nanoseconds),
            _ => Duration::from_secs(default),
        };
        Some(Healthcheck {
            command,
            interval: time(self.interval, 30),
            timeout: time(self.timeout, 30),
            start_period: time(self.start_period, 0),
            start_interval: time(self.start_interval, 5),
            retries: u32::try_from(self.retries)
                .ok()
                .filter(|retries| *retries > 0)
                .unwrap_or(3),
        })
    }
}
