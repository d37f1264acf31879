use serde::{Deserialize, Serialize};

use crate::{Config, Init, Interface, Renewal};

/// What the guest sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GuestMessage {
    /// First frame of a connection: asks for the config, or for a renewal of it.
    Hello(Hello),
    /// Every module is loaded and their devices are there: nothing will happen in the guest until it is answered. Said once on
    /// each connection that has had no answer by then, and once more when what [`HostMessage::Prepare`] asks for is done. A
    /// template is made of a guest that has come so far.
    Settled {
        /// When it had come so far, microseconds since the guest's kernel started.
        uptime_us: u64,
    },
    /// The SSH listeners are open: a login works from here on, as soon as the root file system is up.
    Listening { uptime_us: u64 },
    /// A step of the boot ended. `name` is a short English phrase that a person reads.
    Phase { name: String, uptime_us: u64 },
    /// A step failed and the boot went on without it.
    Warning { step: String, message: String },
    /// A step failed that the VM cannot do without; SSH may still answer.
    Failed { step: String, message: String },
    /// All is up.
    Ready(Ready),
    /// The entrypoint ended; the VM powers off next.
    Exited(Exit),
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::VERSION`] of the guest.
    pub version: u16,
    /// powerunit's package version.
    pub powerunit: String,
    /// `uname -r`.
    pub kernel: String,
    /// The guest kernel's monotonic clock, microseconds since it started.
    pub uptime_us: u64,
    /// The same clock when the kernel executed init, which is when powerunit's `main` began.
    pub init_us: u64,
    /// The guest has had its config long ago, was frozen ([`crate::control::Request::Freeze`]) and has lost whoever froze it:
    /// it asks who it is now. Answered by [`HostMessage::Renew`] or [`HostMessage::Unchanged`].
    #[serde(default)]
    pub renewal: bool,
}

/// The guest's figures when everything is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Microseconds since the guest's kernel started.
    pub uptime_us: u64,
    /// Memory the guest can still use, in KiB (`MemAvailable`).
    pub memory_available_kib: u64,
    /// Who is PID 1 from now on: [`Init::Powerunit`] or [`Init::Image`].
    #[serde(default)]
    pub init: Init,
}

/// How the entrypoint ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Its exit code, 0 to 255.
    Code(u8),
    /// The number of the signal that killed it.
    Signal(u8),
    /// It could not be started at all: why.
    NotStarted(String),
}

impl Exit {
    /// The exit code a shell would give: the code, 128 + the signal, 127 for what could not be started.
    #[must_use]
    pub fn shell_code(&self) -> u8 {
        match self {
            Self::Code(code) => *code,
            Self::Signal(signal) => 128u8.saturating_add(*signal),
            Self::NotStarted(_) => 127,
        }
    }
}

/// What the host sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HostMessage {
    /// Said to a guest that has settled and is to be made a template: every machine that is made of it will have these
    /// interfaces, and they can be set up now. One whose config says otherwise changes them again.
    Prepare { interfaces: Vec<Interface> },
    /// The answer to the first hello.
    Config(Box<Config>),
    /// The answer to a hello that asks for renewal, in a machine made from another's snapshot.
    Renew(Box<Renewal>),
    /// The answer to a hello that asks for renewal, in the very machine that was frozen: it goes on as it is. A VMM may
    /// break the connection of a machine whose snapshot it takes, as Firecracker does.
    Unchanged {
        /// The host's wall clock, nanoseconds since the Unix epoch.
        clock_ns: u64,
    },
    /// The answer to every other hello: why. A guest that asked for renewal goes on as it is.
    Refused { reason: String },
}
