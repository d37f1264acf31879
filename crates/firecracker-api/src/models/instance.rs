//! The VM as a whole: what it is, what it does, what it shall do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The answer to `GET /`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct InstanceInfo {
    /// The id the server was started with (`--id`): `anonymous-instance` unless given.
    pub id: String,
    /// What the guest does.
    pub state: InstanceState,
    /// The server's version, without a leading `v`.
    pub vmm_version: String,
    /// The server's name: `Firecracker`.
    pub app_name: String,
}

/// What the guest does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum InstanceState {
    /// It has not been started; everything may still be configured.
    #[default]
    #[serde(rename = "Not started")]
    NotStarted,
    /// Its vCPUs stand still.
    Paused,
    /// It runs.
    Running,
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotStarted => "Not started",
            Self::Paused => "Paused",
            Self::Running => "Running",
        })
    }
}

/// The answer to `GET /version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct FirecrackerVersion {
    /// The server's version, without a leading `v`.
    pub firecracker_version: String,
}

/// The body of `PUT /actions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct ActionBody")]
pub struct InstanceActionInfo {
    /// What to do.
    pub action_type: ActionType,
}

/// What `PUT /actions` can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum ActionType {
    /// Writes the metrics now.
    FlushMetrics,
    /// Boots the guest.
    InstanceStart,
    /// Presses Ctrl-Alt-Del on the guest's keyboard (`x86_64` only).
    SendCtrlAltDel,
}

/// The body of `PATCH /vm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// What the guest shall do from now on.
    pub state: VmState,
}

/// What a started guest shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum VmState {
    /// Stand still.
    Paused,
    /// Run (on).
    Resumed,
}
