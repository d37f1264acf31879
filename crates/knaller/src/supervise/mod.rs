//! Keeping machines as their restart policies say, by whatever process embeds this library.
//!
//! The invariant: a supervisor owns nothing. The policies and how often each machine was restarted are in the machines'
//! records, how a machine ended is on its console, and that somebody wanted its end is in its folder; so a supervisor
//! that is killed and started again goes on where it was, and any number of them do together what one would do.
//!
//! ```text
//! Supervisor::next ── a machine appears ──> keeper: adopt ─ its end ─ wait ─ start ─ adopt …
//!                 <── what happened ───────────┘
//! ```
//!
//! `RUNTIME/supervisors` is a file that every supervisor has a shared flock(2) on: so it can be told whether there is one.

mod keeper;
mod pace;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

use crate::flocked::Flocked;
use crate::knaller::Inner;
use crate::{Error, EventKind, Events, Exit, Name, Paths, Restart, Result, heal, list};

/// How many things may have happened that nobody has asked for yet.
const BACKLOG: usize = 64;

/// Keeps machines as their policies say, for as long as [`Supervisor::next`] is called again and again. Dropping it leaves the
/// machines as they are; a start that is under way is taken back.
#[derive(Debug)]
pub struct Supervisor {
    inner: Arc<Inner>,
    /// All, if there is none.
    names: Vec<Name>,
    events: Events,
    keepers: JoinSet<()>,
    kept: HashMap<Name, Id>,
    tell: mpsc::Sender<Supervised>,
    told: mpsc::Receiver<Supervised>,
    /// Says that there is a supervisor.
    _mark: Flocked,
}

/// Something that a supervisor saw or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Supervised {
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
    pub name: Name,
    #[serde(flatten)]
    pub kind: SupervisedKind,
}

/// What a supervisor saw or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SupervisedKind {
    /// The machine runs, and its end will be noticed.
    Adopted { instance: String, pid: u32 },
    /// This boot of it is over.
    Ended { instance: String, exit: Exit },
    /// It is to be started again after a while.
    Waiting { delay_ms: u64 },
    /// It was started again, for the `restarts`th time since its user did.
    Restarted { restarts: u32 },
    /// It stays as it is until somebody starts it, and why.
    Resting { reason: String },
    /// Something went wrong, and is tried again.
    Failed { message: String },
}

impl Supervisor {
    pub(crate) async fn open(inner: &Arc<Inner>, names: Vec<Name>) -> Result<Self> {
        let mark = mark(&inner.options.paths)?;
        let mark = Flocked::shared(mark).map_err(Error::io("lock", path(&inner.options.paths)))?;
        let (tell, told) = mpsc::channel(BACKLOG);
        // First this: what appears from now on is heard of.
        let events = Events::open(inner).await?;
        let mut supervisor = Self {
            inner: Arc::clone(inner),
            names,
            events,
            keepers: JoinSet::new(),
            kept: HashMap::new(),
            tell,
            told,
            _mark: mark,
        };
        for name in heal::names(&inner.options.paths)? {
            supervisor.keep(&name);
        }
        Ok(supervisor)
    }

    /// The next thing that it saw or did. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Supervised> {
        loop {
            tokio::select! {
                biased;
                Some(told) = self.told.recv() => return Ok(told),
                Some(ended) = self.keepers.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    self.kept.retain(|_, keeper| *keeper != id);
                }
                event = self.events.next() => {
                    let event = event?;
                    if !matches!(event.kind, EventKind::Stopped { .. } | EventKind::Removed) {
                        self.keep(&event.name);
                    }
                }
            }
        }
    }

    /// Has a machine kept from now on, if it is one that is to be.
    fn keep(&mut self, name: &Name) {
        let meant = self.names.is_empty() || self.names.contains(name);
        if !meant || self.kept.contains_key(name) {
            return;
        }
        let policy = list::load(&self.inner, name).map_or(Restart::No, |(_, record)| record.spec.restart);
        if policy == Restart::No {
            return;
        }
        let keeper = keeper::Keeper {
            inner: Arc::clone(&self.inner),
            name: name.clone(),
            tell: self.tell.clone(),
        };
        let task = self.keepers.spawn(keeper.keep());
        self.kept.insert(name.clone(), task.id());
    }
}

/// Whether there is a supervisor that uses this runtime folder.
pub(crate) fn is_supervised(paths: &Paths) -> Result<bool> {
    let mark = mark(paths)?;
    let alone = Flocked::try_alone(mark);
    Ok(alone.map_err(Error::io("lock", path(paths)))?.is_none())
}

fn mark(paths: &Paths) -> Result<File> {
    let path = path(paths);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))
}

fn path(paths: &Paths) -> PathBuf {
    paths.runtime.join("supervisors")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Knaller;

    #[tokio::test]
    async fn it_can_be_told_whether_there_is_a_supervisor() {
        let temp = tempfile::tempdir().unwrap();
        let knaller = Knaller::with_paths(Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        })
        .unwrap();
        assert!(!knaller.is_supervised().unwrap());
        let one = knaller.supervise(Vec::new()).await.unwrap();
        let other = knaller.supervise(Vec::new()).await.unwrap();
        drop(one);
        assert!(knaller.is_supervised().unwrap());
        drop(other);
        assert!(!knaller.is_supervised().unwrap());
    }

    #[test]
    fn what_is_told_is_flat_json() {
        let told = Supervised {
            time_ns: 1,
            name: "web".parse().unwrap(),
            kind: SupervisedKind::Restarted { restarts: 2 },
        };
        let json = serde_json::to_string(&told).unwrap();
        assert_eq!(
            json,
            r#"{"time_ns":1,"name":"web","event":"restarted","restarts":2}"#
        );
        assert_eq!(serde_json::from_str::<Supervised>(&json).unwrap(), told);
    }
}
