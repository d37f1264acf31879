use serde::{Deserialize, Serialize};

/// A check that runs inside the guest every now and then, with the meanings and defaults of an image's `HEALTHCHECK`
/// (Docker image specification 1.2, `Healthcheck`; Dockerfile reference). A duration or number of 0 stands for its default.
///
/// Until [`Health::start_period_ms`] has passed a check that fails does not count, and while the guest is
/// [`crate::control::HealthState::Starting`] so long, checks come at [`Health::start_interval_ms`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub test: HealthTest,
    /// From the end of a check to the next; 30 s.
    #[serde(default)]
    pub interval_ms: u64,
    /// After so long a check has failed and is killed with its process group; 30 s.
    #[serde(default)]
    pub timeout_ms: u64,
    /// From the entrypoint's start; none.
    #[serde(default)]
    pub start_period_ms: u64,
    /// 5 s.
    #[serde(default)]
    pub start_interval_ms: u64,
    /// How many failures in a row make the guest unhealthy; 3.
    #[serde(default)]
    pub retries: u32,
    /// As [`crate::Entrypoint::user`] and [`crate::Entrypoint::workdir`]. Empty: the entrypoint's, if there is one.
    #[serde(default)]
    pub user: String,
    #[serde(default)]
    pub workdir: String,
}

/// What is run: exit code 0 means healthy, everything else not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthTest {
    /// Program and arguments, as in [`crate::Entrypoint::argv`].
    Exec(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}
