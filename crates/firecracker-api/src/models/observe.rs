//! The server's log and metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::is_off;

/// Where the log goes and what is in it: the body of `PUT /logger`. Absent fields keep what was set before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct LoggerConfig")]
pub struct Logger {
    /// A file or named pipe; made if it is not there since 1.14.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_path: Option<PathBuf>,
    /// The least important lines to write; [`LogLevel::Info`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// Whether each line tells its level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show_level: Option<bool>,
    /// Whether each line tells the source file and line it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show_log_origin: Option<bool>,
    /// Only lines of modules whose path begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// How much is logged. Read in any case; `Warning` is `Warn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Everything.
    Trace,
    /// Bodies of requests too.
    Debug,
    /// Each request.
    #[default]
    Info,
    /// What may be wrong.
    #[serde(rename = "Warning")]
    Warn,
    /// What went wrong.
    Error,
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.to_lowercase().as_str() {
            "off" => Self::Off,
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" => Self::Error,
            _ => return Err(D::Error::custom("Invalid LevelFilter")),
        })
    }
}

/// Where the metrics go: the body of `PUT /metrics`. Unknown fields are ignored, as by Firecracker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(expecting = "struct MetricsConfig")]
pub struct Metrics {
    /// A file or named pipe that gets one line of JSON per flush; made if it is not there since 1.14.
    pub metrics_path: PathBuf,
    /// Whether each line tells the instance's id. Since 1.17.
    #[serde(default, skip_serializing_if = "is_off")]
    pub emit_id: bool,
    /// Pairs that each line repeats under `properties`. Since 1.17.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, String>>,
}
