//! Whether this host can run machines, piece by piece.

pub(crate) mod namespaces;

use serde::{Deserialize, Serialize};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// Machines run without it, but less well.
    Warning,
    /// Machines cannot start.
    Failed,
}

/// One thing that a start needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable: `kvm`, `vmm`, `qemu`, `pasta`, `user-namespaces`, `tun`, `runtime-folder`, `disk-space`, `kernel`, ….
    pub id: String,
    pub verdict: Verdict,
    /// What was found, in one line.
    pub found: String,
    /// What exactly to do, if the verdict is not [`Verdict::Ok`].
    pub remedy: Option<String>,
    /// Whether [`crate::Knaller::fix`] can do it, without root.
    pub fixable: bool,
}
