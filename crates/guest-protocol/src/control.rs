//! What root on the host may ask a running guest, over SSH's [`crate::CONTROL_SUBSYSTEM`]: JSON lines both ways.

use serde::{Deserialize, Serialize};

use crate::Exit;

/// The longest line either side accepts, in bytes.
pub const MAX_LINE: usize = 64 * 1024;

/// One line in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How is the guest? Answered by [`Reply::Status`].
    Status,
    /// End in order: stop signal, grace, SIGKILL, sync, unmount, power off. Answered by [`Reply::Stopping`] at once.
    Shutdown {
        /// Overrides the config's grace.
        #[serde(default)]
        grace_ms: Option<u64>,
    },
    /// Sets the wall clock, nanoseconds since the Unix epoch. Answered by [`Reply::Done`].
    SetClock { clock_ns: u64 },
}

/// One line out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    Status(Status),
    Stopping,
    Done,
    Failed { message: String },
}

/// The guest's own figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub uptime_us: u64,
    /// `MemTotal` and `MemAvailable` of /proc/meminfo, KiB.
    pub memory_total_kib: u64,
    pub memory_available_kib: u64,
    /// CPU time that was not idle since boot, all CPUs, milliseconds.
    pub cpu_busy_ms: u64,
    /// 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Size and free bytes of `/`.
    pub disk_total: u64,
    pub disk_free: u64,
    pub processes: u64,
    /// Absent while it runs, or where there is none.
    #[serde(default)]
    pub entrypoint_exit: Option<Exit>,
    pub entrypoint_running: bool,
}
