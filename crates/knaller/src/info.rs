//! What a machine is and does, as asked from its VMM just now.

use std::net::IpAddr;

use guest_protocol::control::Health;
use serde::{Deserialize, Serialize};

use crate::{Forward, Limits, MachineSpec, Name};

/// Whether a machine runs. Never read from a file: asked from the VMM's API socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A command is starting it.
    Starting,
    Running,
    Paused,
    /// Its VMM is there and does not answer.
    Unresponsive,
    Stopped,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Unresponsive,
        Self::Stopped,
    ];

    /// `starting`, `running`, `paused`, `unresponsive`, `stopped`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Unresponsive => "unresponsive",
            Self::Stopped => "stopped",
        }
    }
}

/// How the guest of a boot came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// Its kernel booted.
    #[default]
    Cold,
    /// It had been kept while it waited for its config, with others of its shape in mind.
    Warm,
    /// It went on from where a snapshot was taken.
    Restored { snapshot: Name },
    /// It went on from where another machine was at that moment.
    Forked { machine: Name },
}

impl Origin {
    /// `cold`, `warm`, `restored`, `forked`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Restored { .. } => "restored",
            Self::Forked { .. } => "forked",
        }
    }
}

/// What confines a machine's VMM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailInfo {
    /// The parts of a jail that the host did not have when the machine was started, in words.
    pub without: Vec<String>,
    /// The user, and group, that root's machine has for itself alone while it runs.
    pub user: Option<u32>,
}

/// What a machine that runs is to have from its next start on, where that is other than what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NextStart {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Whether the ports that its image exposes are forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_all: Option<bool>,
    /// All of them, as they will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What else, by name and without what it will be: an environment may be secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
}

impl NextStart {
    /// From what is to what is to be; none if that is the same.
    pub(crate) fn between(is: &MachineSpec, to_be: &MachineSpec) -> Option<Self> {
        let next = Self {
            cpus: (is.cpus != to_be.cpus).then_some(to_be.cpus),
            memory_mib: (is.memory_mib != to_be.memory_mib).then_some(to_be.memory_mib),
            publish_all: (is.publish_all != to_be.publish_all).then_some(to_be.publish_all),
            limits: (is.limits != to_be.limits).then(|| to_be.limits.clone()),
            others: crate::life::others(is, to_be),
        };
        (next != Self::default()).then_some(next)
    }
}

/// A machine as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineInfo {
    pub name: Name,
    pub state: State,
    /// How this boot began, or the last.
    pub origin: Origin,
    /// Names this boot; the VMM's `--id`.
    pub instance: String,
    /// The VMM that runs it, or ran it last: `firecracker`, `sparkler`.
    pub vmm: String,
    /// The jail of its VMM; none if it has, or had, none.
    pub jail: Option<JailInfo>,
    /// As the VMM says it, while one answers.
    pub vmm_version: Option<String>,
    /// The VMM's process id, while it runs.
    pub pid: Option<u32>,
    /// Seconds since the Unix epoch; as JSON RFC 3339.
    #[serde(with = "crate::unix_time")]
    pub created: u64,
    /// When this boot began, seconds since the Unix epoch; as JSON RFC 3339.
    #[serde(with = "crate::unix_time")]
    pub started: u64,
    /// How often a supervisor has started it since its user did.
    pub restarts: u32,
    /// What it has while it runs; what it is to have, where it does not.
    pub spec: MachineSpec,
    /// What is other than that from its next start on: [`crate::Machine::update`] was asked for what cannot change while it runs.
    pub next_start: Option<NextStart>,
    /// The forwards with the host ports they have.
    pub forwards: Vec<Forward>,
    /// The guest's addresses inside its own network namespace; none without a network.
    pub addresses: Vec<IpAddr>,
    /// The kernel bundle's id.
    pub kernel: String,
    /// What it was made of: the digest of the image's manifest, or the built-in image's id. None where it shares nothing.
    pub image: Option<String>,
    /// What the image's health check has shown. None where there is none, or the guest did not say in time.
    pub health: Option<Health>,
}
