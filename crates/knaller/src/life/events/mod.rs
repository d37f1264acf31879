//! What happens to machines, told as it happens.
//!
//! The invariant: an event is the difference between two looks at how things are. What wakes the looker (a change in the
//! folders, the end of a process, a while gone by) is never the source of an event, so nothing that it misses is lost for good:
//! the next look shows it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::{AbortHandle, JoinSet};

use self::differences::Change;
use self::look::Look;
use crate::knaller::Inner;
use crate::record::Record;
use crate::watch::Watch;
use crate::{Error, Exit, MachineInfo, Name, Result, State, layout, list, stop};

mod differences;
mod look;

/// How long nothing may wake the looker: a VMM says nothing when somebody else pauses its guest.
const LOOK: Duration = Duration::from_secs(2);

/// The same while a command has a machine in hand: it says nothing when it is done.
const BUSY: Duration = Duration::from_millis(200);

/// Something that happened to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When it was seen, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    pub name: Name,
    /// The boot that it happened to.
    pub instance: String,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// It is there.
    Created,
    /// A boot of it began.
    Starting,
    /// Its start is over, and its guest runs.
    Running,
    /// Its user has paused it. What stands still for a snapshot runs.
    Paused,
    Resumed,
    /// Its VMM is there and does not answer.
    Unresponsive,
    /// Its VMM answers again.
    Responsive,
    /// A boot of it is over, the last of its processes gone, and how.
    Stopped {
        exit: Exit,
    },
    Renamed {
        from: Name,
    },
    /// It is gone.
    Removed,
}

/// The events from a moment on.
#[derive(Debug)]
pub struct Events {
    inner: Arc<Inner>,
    folders: Vec<Watch>,
    last: Look,
    /// Whether a command had a machine in hand at the last look.
    busy: bool,
    /// The boots whose VMM did not answer at the last look.
    doubted: BTreeSet<String>,
    /// One for each boot that runs: ends with it.
    ends: JoinSet<()>,
    boots: BTreeMap<String, Boot>,
    ready: VecDeque<Event>,
}

/// A boot that runs, or ran until just now.
#[derive(Debug)]
struct Boot {
    end: AbortHandle,
    record: Record,
    /// Opened while it ran: the machine's folder may go with it, and the next boot has another.
    console: Option<File>,
}

impl Events {
    pub(crate) async fn open(inner: &Arc<Inner>) -> Result<Self> {
        let paths = &inner.options.paths;
        let watch = |path: &std::path::Path| Watch::folder(path).map_err(Error::io("watch", path));
        let mut events = Self {
            inner: Arc::clone(inner),
            folders: vec![watch(&layout::vms(paths))?, watch(&paths.runtime)?],
            last: Look::new(),
            busy: false,
            doubted: BTreeSet::new(),
            ends: JoinSet::new(),
            boots: BTreeMap::new(),
            ready: VecDeque::new(),
        };
        events.last = events.look().await?;
        Ok(events)
    }

    /// The next event. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            self.wake().await?;
            let now = self.look().await?;
            for (name, instance, change) in differences::between(&self.last, &now) {
                let kind = match change {
                    Change::Stopped => EventKind::Stopped {
                        exit: self.exit(&name, &instance),
                    },
                    Change::Other(kind) => kind,
                };
                self.ready.push_back(Event {
                    time_ns: crate::start::clock_ns(),
                    name,
                    instance,
                    kind,
                });
            }
            self.forget(&now);
            self.last = now;
        }
    }

    async fn wake(&mut self) -> Result<()> {
        let [vms, runtime] = self.folders.as_slice() else {
            return Ok(());
        };
        let failed = Error::system("watch the machines' folders");
        tokio::select! {
            changes = vms.changes() => changes.map(drop).map_err(failed),
            changes = runtime.changes() => changes.map(drop).map_err(failed),
            Some(_) = self.ends.join_next() => Ok(()),
            () = tokio::time::sleep(if self.busy { BUSY } else { LOOK }) => Ok(()),
        }
    }

    /// Waits for the end of a boot that runs.
    async fn watch(&mut self, folder: &Name, info: &MachineInfo) {
        if info.state == State::Stopped || self.boots.contains_key(&info.instance) {
            return;
        }
        let Ok((files, record)) = list::load(&self.inner, folder) else {
            return;
        };
        // Another boot has begun since; or none of its processes has, and there is nothing to wait for.
        if record.instance != info.instance || (info.state == State::Starting && info.pid.is_none()) {
            return;
        }
        let boot = record.clone();
        let end = self.ends.spawn(async move {
            // One that cannot be watched is looked at in a while.
            let _ = stop::ended(&boot).await;
        });
        let console = File::open(files.console()).ok();
        let boot = Boot { end, record, console };
        self.boots.insert(info.instance.clone(), boot);
    }

    /// Whether a process of a boot that was seen to run is left.
    fn boots_still(&self, instance: &str) -> bool {
        self.boots
            .get(instance)
            .is_some_and(|boot| !boot.end.is_finished())
    }

    /// How a boot that is over came to its end.
    fn exit(&self, name: &Name, instance: &str) -> Exit {
        match self.boots.get(instance) {
            Some(boot) => stop::told_by(boot.console.as_ref(), &boot.record),
            None => match list::load(&self.inner, name) {
                Ok((_, record)) if record.instance == instance => stop::ended_how(&self.inner, name),
                _ => Exit::Lost,
            },
        }
    }

    /// Lets go of the boots that are over.
    fn forget(&mut self, now: &Look) {
        self.boots.retain(|instance, boot| {
            let runs = now
                .values()
                .any(|seen| seen.instance == *instance && seen.state != State::Stopped);
            if !runs {
                boot.end.abort();
            }
            runs
        });
    }
}
