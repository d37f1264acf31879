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
    /// What runs in the guest? Answered by [`Reply::Processes`]: programs, without the kernel's own threads.
    Processes {
        /// Those with a higher id than this, for the rest of a long list.
        #[serde(default)]
        after: u32,
    },
    /// End in order: stop signal, grace, SIGKILL, sync, unmount, power off. Answered by [`Reply::Stopping`] at once.
    Shutdown {
        /// Overrides the config's grace.
        #[serde(default)]
        grace_ms: Option<u64>,
    },
    /// Sets the wall clock, nanoseconds since the Unix epoch. Answered by [`Reply::Done`].
    SetClock { clock_ns: u64 },
    /// Stand still for a snapshot: no process runs, no file system is written to, no new connection is taken. Answered by
    /// [`Reply::Frozen`] as soon as it is so, or by [`Reply::Failed`] if the guest stands still already or cannot.
    ///
    /// It ends by [`Request::Thaw`] on the same connection, or when that connection breaks: then the guest has been restored
    /// elsewhere, or whoever froze it has died, and it asks the host anew ([`crate::Hello::renewal`]).
    Freeze {
        /// How long a guest whose connection broke asks for an answer, milliseconds of its own clock, before it goes on as it
        /// was. At most [`MAX_PATIENCE_MS`].
        #[serde(default = "default_patience")]
        patience_ms: u64,
    },
    /// Go on. Answered by [`Reply::Done`] when everything runs again.
    Thaw,
}

/// The longest that a guest may be made to ask: ten minutes.
pub const MAX_PATIENCE_MS: u64 = 600_000;

fn default_patience() -> u64 {
    10_000
}

/// One line out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    Status(Status),
    Processes(Processes),
    Stopping,
    Frozen(Frozen),
    Done,
    Failed { message: String },
}

/// The guest stands still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// What could not be made to stand still, and why: each a sentence for a person.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Whether the guest's kernel notices by itself that it was restored from a snapshot (the VM Generation ID device, with its
    /// driver).
    #[serde(default)]
    pub generation_id: bool,
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
    /// Absent where nothing is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// Processes of the guest, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    pub list: Vec<Process>,
    /// There are more than a line holds: ask for those after the last of these.
    pub more: bool,
}

/// One process of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// 0 where it was started by the kernel.
    pub parent: u32,
    /// Its user's name, or number where the guest has no name for it.
    pub user: String,
    /// As the kernel has it (proc_pid_stat(5)): `R` runs, `S` and `D` wait, `T` is stopped, `Z` has ended.
    pub state: char,
    /// CPU time, user and system, milliseconds.
    pub cpu_ms: u64,
    /// Resident memory, KiB; what it shares with others counts whole.
    pub memory_kib: u64,
    /// When it began, on the clock of [`Status::uptime_us`].
    pub started_us: u64,
    /// The words it was started with, blanks between them, cut off after [`MAX_COMMAND`] bytes; its name in brackets
    /// where it has none. What is no UTF-8 is replaced.
    pub command: String,
}

/// How much of a command line is told, in bytes.
pub const MAX_COMMAND: usize = 1024;

/// What the checks of [`crate::Health`] have shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub state: HealthState,
    /// How many checks in a row have failed, of those that count.
    pub failing_streak: u32,
    /// The last check that has ended.
    #[serde(default)]
    pub last: Option<Check>,
}

/// As Docker has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// No check has succeeded yet, and not enough have failed.
    Starting,
    Healthy,
    Unhealthy,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub result: CheckResult,
    /// Its end, on the clock of [`Status::uptime_us`].
    pub ended_us: u64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// The last [`MAX_CHECK_OUTPUT`] bytes of what it wrote to standard output and error; what is no UTF-8 is replaced.
    pub output: String,
}

/// How much output of a check is kept, in bytes; Docker's own limit.
pub const MAX_CHECK_OUTPUT: usize = 4096;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    Exit(Exit),
    /// It took longer than it may, and was killed.
    TimedOut,
}
