//! Whether this host can run machines, piece by piece. The invariant: a check does what a start would do, as far as that
//! leaves no trace, and every one that fails names the exact remedy.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::knaller::Inner;
use crate::{Error, Result, task};

mod bootable;
mod fix;
mod host;
mod jail;
pub(crate) mod namespaces;
mod network;
pub(crate) mod orphans;
mod programs;
mod users;

pub(crate) use network::try_direct;

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

impl Check {
    fn ok(id: &str, found: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: None,
            fixable: false,
        }
    }

    fn bad(id: &str, verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict,
            remedy: Some(remedy.into()),
            ..Self::ok(id, found)
        }
    }

    /// What an error says, with its hint as the remedy.
    fn failed(id: &str, error: &Error) -> Self {
        let remedy = error.hint().unwrap_or_else(|| "see the message".to_owned());
        Self::bad(id, Verdict::Failed, error.headline(), remedy)
    }
}

/// Everything that a start needs, in the order in which it needs it.
pub(crate) async fn run(inner: &Arc<Inner>) -> Vec<Check> {
    let looked = {
        let inner = Arc::clone(inner);
        task::blocking(move |task| {
            let options = &inner.options;
            let mut checks = vec![host::kvm()];
            checks.extend(programs::all(options));
            checks.extend([host::tun(), namespaces::check(), network::route()]);
            checks.extend(network::direct(options));
            checks.extend(users::check(options));
            checks.extend([
                host::runtime_folder(options),
                host::disk_space(options),
                host::memory(),
                host::limits(options),
            ]);
            checks.extend([bootable::kernel(options), bootable::image(options, task)]);
            checks.push(orphans::check(options));
            Ok(checks)
        })
    };
    let mut checks = looked.await.unwrap_or_default();
    let helper = |c: &&Check| c.id == "knaller-netns" && c.verdict == Verdict::Failed;
    if !checks.iter().any(|c| helper(&c)) {
        checks.push(jail::trial(&inner.options).await);
    }
    // What hangs together is tried only if each part is there: otherwise it would say the same again.
    let parts = ["pasta", "nft", "knaller-netns", "tun", "user-namespaces", "route"];
    let whole = checks
        .iter()
        .all(|c| c.verdict != Verdict::Failed || !parts.contains(&c.id.as_str()));
    if whole {
        checks.push(network::trial(&inner.options).await);
    }
    checks
}

/// Applies the remedy of a check: says what was done.
pub(crate) async fn apply(inner: &Arc<Inner>, check: &Check) -> Result<String> {
    let (inner, check) = (Arc::clone(inner), check.clone());
    task::blocking(move |task| fix::apply(&inner.options, &check, task)).await
}
