//! Metrics, in Firecracker's form: one line of JSON per flush.
//!
//! Invariant: every line has all of Firecracker's groups and fields, in its order; what was counted before is not
//! counted again. Writing never waits: the target is opened non-blocking, and a line it does not take whole is counted
//! as missed, its contents told by the next.

mod count;
mod groups;
mod per_device;
mod requests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use firecracker_api::models::Metrics as Config;
use serde::Serialize;

use self::count::Told;
use self::groups::{
    ApiServer, Balloon, Deprecated, Entropy, GetRequests, I8042, Interrupts, Latencies, LoggerSystem,
    MemoryHotplug, Mmds, PatchRequests, Pmem, PutRequests, Rtc, Seccomp, Signals, Uart, Vcpu, Vmm, Vsock,
};
pub(crate) use self::groups::{Block, Net};
pub(crate) use self::per_device::PerDevice;
use crate::console::open_nonblock;

/// How often a line is written by itself, seconds (`WRITE_METRICS_PERIOD_MS` in Firecracker).
pub const PERIOD_S: u64 = 60;

/// Everything that is counted.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counters {
    pub(crate) api_server: ApiServer,
    pub(crate) balloon: Balloon,
    #[serde(flatten)]
    pub(crate) block: PerDevice<Block>,
    pub(crate) deprecated_api: Deprecated,
    pub(crate) get_api_requests: GetRequests,
    pub(crate) i8042: I8042,
    #[serde(skip_serializing_if = "not_here")]
    pub(crate) rtc: Rtc,
    pub(crate) uart: Uart,
    pub(crate) latencies_us: Latencies,
    pub(crate) logger: LoggerSystem,
    pub(crate) mmds: Mmds,
    #[serde(flatten)]
    pub(crate) net: PerDevice<Net>,
    pub(crate) patch_api_requests: PatchRequests,
    pub(crate) put_api_requests: PutRequests,
    pub(crate) seccomp: Seccomp,
    pub(crate) vcpu: Vcpu,
    pub(crate) vmm: Vmm,
    pub(crate) signals: Signals,
    pub(crate) vsock: Vsock,
    pub(crate) entropy: Entropy,
    pub(crate) pmem: Pmem,
    pub(crate) interrupts: Interrupts,
    pub(crate) memory_hotplug: MemoryHotplug,
}

fn not_here(_: &Rtc) -> bool {
    cfg!(not(target_arch = "aarch64"))
}

impl Counters {
    fn told(&mut self) {
        self.balloon.told();
        self.block.told();
        self.deprecated_api.told();
        self.get_api_requests.told();
        self.uart.told();
        self.logger.told();
        self.mmds.told();
        self.net.told();
        self.patch_api_requests.told();
        self.put_api_requests.told();
        self.signals.told();
        self.vsock.told();
    }
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    utc_timestamp_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a BTreeMap<String, String>>,
    #[serde(flatten)]
    counters: &'a Counters,
}

/// Why metrics cannot be written to a target.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// There is one already.
    #[error("Reinitialization of metrics not allowed.")]
    AlreadyInitialized,
    /// It cannot be opened.
    #[error("{0}")]
    Open(#[source] io::Error),
    /// It did not take a line.
    #[error("Failed to write metrics: {0}")]
    Write(#[source] io::Error),
}

/// The metrics of a machine and where they go.
#[derive(Debug)]
pub struct Metrics {
    id: String,
    target: Option<(File, Config)>,
    /// What is counted.
    pub(crate) counters: Counters,
}

impl Metrics {
    /// Metrics that go nowhere yet.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self {
            id,
            target: None,
            counters: Counters::default(),
        }
    }

    /// Opens the target; once only.
    pub fn open(&mut self, config: Config) -> Result<(), MetricsError> {
        if self.target.is_some() {
            return Err(MetricsError::AlreadyInitialized);
        }
        let file = open_nonblock(&config.metrics_path).map_err(MetricsError::Open)?;
        self.target = Some((file, config));
        Ok(())
    }

    /// Whether somebody gets them.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.target.is_some()
    }

    /// Sets how long the process took to start, from what the parent told about its start.
    pub fn set_startup(&mut self, wall_us: Option<u64>, cpu_us: Option<u64>) {
        self.counters.api_server.process_startup_time_us = wall_us.unwrap_or(0);
        self.counters.api_server.process_startup_time_cpu_us = cpu_us.unwrap_or(0);
    }

    /// Writes one line, if there is a target.
    pub fn write(&mut self) -> Result<(), MetricsError> {
        let Some((file, config)) = &self.target else {
            return Ok(());
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let line = Line {
            utc_timestamp_ms: u64::try_from(now).unwrap_or(u64::MAX),
            id: config.emit_id.then_some(self.id.as_str()),
            properties: config.properties.as_ref(),
            counters: &self.counters,
        };
        let mut text = serde_json::to_vec(&line).map_err(|error| MetricsError::Write(error.into()))?;
        text.push(b'\n');
        let mut file = file;
        if let Err(error) = file.write_all(&text) {
            self.counters.logger.missed_metrics_count.up();
            return Err(MetricsError::Write(error));
        }
        self.counters.told();
        Ok(())
    }
}
