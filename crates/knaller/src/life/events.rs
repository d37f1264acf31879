//! What happens to machines, told as it happens.
//!
//! The invariant: an event is the difference between two looks at how things are. What wakes the looker (a change in the
//! folders, the end of a process, a while gone by) is never the source of an event, so nothing that it misses is lost for good:
//! the next look shows it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::{AbortHandle, JoinSet};

use crate::knaller::Inner;
use crate::watch::Watch;
use crate::{Error, Exit, Name, Result, State, heal, layout, list, stop};

/// How long nothing may wake the looker: a VMM says nothing when somebody else pauses its guest.
const LOOK: Duration = Duration::from_secs(2);

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
    /// Its guest runs.
    Running,
    Paused,
    Resumed,
    /// Its VMM is there and does not answer.
    Unresponsive,
    /// A boot of it is over, and how.
    Stopped {
        exit: Exit,
    },
    Renamed {
        from: Name,
    },
    /// It is gone.
    Removed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    state: State,
    instance: String,
    created: u64,
}

type Look = BTreeMap<Name, Seen>;

/// The events from a moment on.
#[derive(Debug)]
pub struct Events {
    inner: Arc<Inner>,
    folders: Vec<Watch>,
    last: Look,
    /// One for each boot that runs: ends with it, and gives its instance id.
    boots: JoinSet<()>,
    watched: BTreeMap<String, AbortHandle>,
    ready: VecDeque<Event>,
}

impl Events {
    pub(crate) async fn open(inner: &Arc<Inner>) -> Result<Self> {
        let paths = &inner.options.paths;
        let watch = |path: &std::path::Path| Watch::folder(path).map_err(Error::io("watch", path));
        let mut events = Self {
            inner: Arc::clone(inner),
            folders: vec![watch(&layout::vms(paths))?, watch(&paths.runtime)?],
            last: Look::new(),
            boots: JoinSet::new(),
            watched: BTreeMap::new(),
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
            let before = std::mem::take(&mut self.last);
            for (name, instance, kind) in differences(&before, &now) {
                let kind = match kind {
                    // How is read from its console.
                    Change::Stopped => EventKind::Stopped {
                        exit: stop::ended_how(&self.inner, &name),
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
            Some(_) = self.boots.join_next() => Ok(()),
            () = tokio::time::sleep(LOOK) => Ok(()),
        }
    }

    /// How things are, and a watch on each boot that runs.
    async fn look(&mut self) -> Result<Look> {
        heal::all(&self.inner).await?;
        let mut look = Look::new();
        for info in list::all(&self.inner).await? {
            let seen = Seen {
                state: info.state,
                instance: info.instance,
                created: info.created,
            };
            look.insert(info.name, seen);
        }
        self.watched.retain(|instance, task| {
            let runs = look
                .values()
                .any(|seen| seen.instance == *instance && seen.state != State::Stopped);
            if !runs {
                task.abort();
            }
            runs
        });
        for (name, seen) in &look {
            if seen.state == State::Stopped || self.watched.contains_key(&seen.instance) {
                continue;
            }
            let Ok((_, record)) = list::load(&self.inner, name) else {
                continue;
            };
            let task = self.boots.spawn(async move {
                // One that cannot be watched is looked at in a while.
                let _ = stop::ended(&record).await;
            });
            self.watched.insert(seen.instance.clone(), task);
        }
        Ok(look)
    }
}

enum Change {
    Stopped,
    Other(EventKind),
}

/// What must have happened between two looks, in an order in which it can have.
fn differences(before: &Look, now: &Look) -> Vec<(Name, String, Change)> {
    let mut all = Vec::new();
    let mut known = before.clone();
    for (name, seen) in now {
        if before.contains_key(name) {
            continue;
        }
        let same = |(old, was): &(&Name, &Seen)| {
            !now.contains_key(*old) && was.created == seen.created && was.instance == seen.instance
        };
        let change = match before
            .iter()
            .find(same)
            .map(|(old, was)| (old.clone(), was.clone()))
        {
            Some((from, was)) => {
                known.remove(&from);
                known.insert(name.clone(), was);
                EventKind::Renamed { from }
            }
            None => EventKind::Created,
        };
        all.push((name.clone(), seen.instance.clone(), Change::Other(change)));
    }
    for (name, was) in &known {
        let Some(is) = now.get(name) else {
            if was.state != State::Stopped {
                all.push((name.clone(), was.instance.clone(), Change::Stopped));
            }
            all.push((
                name.clone(),
                was.instance.clone(),
                Change::Other(EventKind::Removed),
            ));
            continue;
        };
        all.extend(
            passed(was, is)
                .into_iter()
                .map(|(instance, change)| (name.clone(), instance, change)),
        );
    }
    for (name, is) in now {
        if !known.contains_key(name) {
            let fresh = Seen {
                state: State::Stopped,
                ..is.clone()
            };
            all.extend(
                passed(&fresh, is)
                    .into_iter()
                    .map(|(instance, change)| (name.clone(), instance, change)),
            );
        }
    }
    all
}

/// From one state of a machine to another.
fn passed(was: &Seen, is: &Seen) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    let mut from = was.state;
    if was.instance != is.instance && from != State::Stopped {
        changes.push((was.instance.clone(), Change::Stopped));
        from = State::Stopped;
    }
    let other = |kind| (is.instance.clone(), Change::Other(kind));
    match (from, is.state) {
        (from, to) if from == to => {}
        (_, State::Stopped) => changes.push((is.instance.clone(), Change::Stopped)),
        (_, State::Starting) => changes.push(other(EventKind::Starting)),
        (_, State::Unresponsive) => changes.push(other(EventKind::Unresponsive)),
        (State::Paused, State::Running) => changes.push(other(EventKind::Resumed)),
        (State::Running | State::Unresponsive, State::Paused) => changes.push(other(EventKind::Paused)),
        (_, State::Running) => changes.push(other(EventKind::Running)),
        (_, State::Paused) => {
            changes.push(other(EventKind::Running));
            changes.push(other(EventKind::Paused));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(machines: &[(&str, State, &str)]) -> Look {
        let seen = |(name, state, instance): &(&str, State, &str)| {
            let seen = Seen {
                state: *state,
                instance: (*instance).to_owned(),
                created: 7,
            };
            (name.parse().unwrap(), seen)
        };
        machines.iter().map(seen).collect()
    }

    fn told(before: &[(&str, State, &str)], now: &[(&str, State, &str)]) -> Vec<String> {
        let tell = |(name, instance, change): (Name, String, Change)| match change {
            Change::Stopped => format!("{name} {instance} stopped"),
            Change::Other(kind) => {
                let json = serde_json::to_value(&kind).unwrap();
                format!("{name} {instance} {}", json["event"].as_str().unwrap())
            }
        };
        differences(&look(before), &look(now))
            .into_iter()
            .map(tell)
            .collect()
    }

    #[test]
    fn what_lies_between_two_looks() {
        use State::{Paused, Running, Starting, Stopped};
        let web = |state, instance| [("web", state, instance)];
        assert_eq!(
            told(&[], &web(Starting, "1")),
            ["web 1 created", "web 1 starting"]
        );
        assert_eq!(told(&[], &web(Running, "1")), ["web 1 created", "web 1 running"]);
        assert_eq!(told(&web(Starting, "1"), &web(Running, "1")), ["web 1 running"]);
        assert_eq!(told(&web(Running, "1"), &web(Paused, "1")), ["web 1 paused"]);
        assert_eq!(told(&web(Paused, "1"), &web(Running, "1")), ["web 1 resumed"]);
        assert_eq!(told(&web(Running, "1"), &web(Stopped, "1")), ["web 1 stopped"]);
        assert_eq!(told(&web(Running, "1"), &[]), ["web 1 stopped", "web 1 removed"]);
        assert_eq!(told(&web(Stopped, "1"), &[]), ["web 1 removed"]);
        // Restarted between two looks.
        assert_eq!(
            told(&web(Running, "1"), &web(Running, "2")),
            ["web 1 stopped", "web 2 running"]
        );
        assert_eq!(
            told(&web(Stopped, "1"), &web(Paused, "2")),
            ["web 2 running", "web 2 paused"]
        );
        assert_eq!(told(&web(Running, "1"), &web(Running, "1")), [""; 0]);
    }

    #[test]
    fn a_renamed_machine_is_neither_gone_nor_new() {
        use State::{Running, Stopped};
        let before = [("web", Running, "1"), ("db", Stopped, "2")];
        let now = [("api", Running, "1"), ("db", Stopped, "2")];
        assert_eq!(told(&before, &now), ["api 1 renamed"]);
        let now = [("api", Stopped, "1"), ("db", Stopped, "2")];
        assert_eq!(told(&before, &now), ["api 1 renamed", "api 1 stopped"]);
    }
}
