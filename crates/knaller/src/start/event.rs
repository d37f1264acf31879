//! What a start says of itself while it works.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Class, Name};

/// One thing that happened in a start.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartEvent {
    /// The machine has its name and instance id; everything before can fail without a trace.
    Claimed { name: Name, instance: String },
    /// A step ended.
    Step(Step),
    /// A way to be faster, now or the next time, came to nothing; the start goes on without it.
    Slower {
        message: String,
        /// What kind of failure was in its way, if it was one.
        class: Option<Class>,
    },
    /// Less than usual protects the host from the guest.
    Exposed { message: String },
    /// Something of the host's is in the way of what the machine is for, as a firewall is.
    Hindered { message: String },
    /// A step of the guest failed and it went on without it.
    Warning { step: String, message: String },
}

impl StartEvent {
    /// What somebody who starts a machine is to be warned of, in words, if it is anything.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::Slower { message, .. } | Self::Exposed { message } | Self::Hindered { message } => {
                Some(message.clone())
            }
            Self::Warning { step, message } => Some(format!("the guest went on without {step}: {message}")),
            Self::Claimed { .. } | Self::Step(_) => None,
        }
    }
}

/// Which side did a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Host,
    Guest,
}

/// A step of a start that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub side: Side,
    /// A short English phrase: `disks`, `kernel loaded`.
    pub name: String,
    /// When it ended, since the start began.
    pub at: Duration,
    /// How long it took; steps of the host overlap.
    pub took: Duration,
}

/// All steps of one start, in the order of their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    pub steps: Vec<Step>,
    /// From the call to its end.
    pub total: Duration,
}
