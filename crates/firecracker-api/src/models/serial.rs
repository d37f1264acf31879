//! The serial console.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TokenBucket;

/// Where the guest's serial console goes: the body of `PUT /serial`. Since 1.14.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct SerialConfig")]
pub struct SerialDevice {
    /// A file or named pipe, appended to; the server's standard output when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_out_path: Option<PathBuf>,
    /// Bytes that may be written; what is over is dropped and counted in the metrics. Since 1.16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<TokenBucket>,
}
