//! Changing a machine, and as much of it as can be while it runs.
//!
//! The invariant: the spec is what was last asked for, and a start could have. A machine that runs has it too, but for what
//! [`Updated::next_start`] names: then its record says beside the spec what this boot has. If its VMM or the kernel refuses a
//! change, the spec stays as it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firecracker_api::Client;

use self::kind::{Kind, of_processes};
use super::forwards::{self, Moved};
use crate::claim::Claim;
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::record::Record;
use crate::{
    CpuQuota, CpuSet, EgressRule, Forward, Limits, MachineSpec, Name, Rate, Restart, Result, cgroup, heal,
    list, task,
};

mod kept;
mod kind;

pub(crate) use kept::heal as heal_limits;

/// How long the VMM may take for one change.
const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of something that a machine may have or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It goes.
    Remove,
    Set(T),
}

impl<T> Change<T> {
    fn apply(self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Remove => *to = None,
            Self::Set(value) => *to = Some(value),
        }
    }
}

/// What is to change of a machine. See [`Limits`] and [`MachineSpec`] for what each is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Update {
    pub cpu_quota: Change<CpuQuota>,
    pub cpu_weight: Change<u16>,
    pub cpu_set: Change<CpuSet>,
    pub memory_max_mib: Change<u32>,
    pub pids: Change<u32>,
    pub disk_bandwidth: Change<Rate>,
    pub disk_ops: Change<Rate>,
    pub receive: Change<Rate>,
    pub send: Change<Rate>,
    pub memory_target_mib: Change<u32>,
    /// By their names; `None` takes one away.
    pub labels: BTreeMap<String, Option<String>>,
    /// From the next start.
    pub cpus: Option<u8>,
    /// From the next start.
    pub memory_mib: Option<u32>,
    /// All of them anew. What the image's ports have of [`MachineSpec::publish_all`] stays beside them.
    pub forwards: Option<Vec<Forward>>,
    /// Whether each port that the image exposes is forwarded: no longer at once, and from the next start.
    pub publish_all: Option<bool>,
    pub restart: Option<Restart>,
    /// By their names; `None` takes one away. From the next start.
    pub env: BTreeMap<String, Option<String>>,
    /// From the next start; without one it is the machine's name.
    pub hostname: Change<String>,
    /// All of them anew, from the next start.
    pub egress: Option<Vec<EgressRule>>,
    /// From the next start.
    pub boot_timeout_ms: Option<u64>,
}

/// What came of an [`Update`]: what is other than it was, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Updated {
    /// What holds now.
    pub now: Vec<&'static str>,
    /// What holds when the machine is started the next time.
    pub next_start: Vec<&'static str>,
}

impl Update {
    /// The spec with the changes.
    fn applied(self, to: &MachineSpec) -> MachineSpec {
        let mut spec = to.clone();
        let limits = &mut spec.limits;
        self.cpu_quota.apply(&mut limits.cpu_quota);
        self.cpu_weight.apply(&mut limits.cpu_weight);
        self.cpu_set.apply(&mut limits.cpu_set);
        self.memory_max_mib.apply(&mut limits.memory_max_mib);
        self.pids.apply(&mut limits.pids);
        self.disk_bandwidth.apply(&mut limits.disk_bandwidth);
        self.disk_ops.apply(&mut limits.disk_ops);
        self.receive.apply(&mut limits.receive);
        self.send.apply(&mut limits.send);
        self.memory_target_mib.apply(&mut limits.memory_target_mib);
        for (names, to) in [(self.labels, &mut spec.labels), (self.env, &mut spec.env)] {
            for (name, value) in names {
                match value {
                    Some(value) => to.insert(name, value),
                    None => to.remove(&name),
                };
            }
        }
        self.hostname.apply(&mut spec.hostname);
        spec.cpus = self.cpus.unwrap_or(spec.cpus);
        spec.memory_mib = self.memory_mib.unwrap_or(spec.memory_mib);
        spec.forwards = self.forwards.unwrap_or(spec.forwards);
        spec.publish_all = self.publish_all.unwrap_or(spec.publish_all);
        spec.restart = self.restart.unwrap_or(spec.restart);
        spec.egress = self.egress.unwrap_or(spec.egress);
        spec.boot_timeout_ms = self.boot_timeout_ms.unwrap_or(spec.boot_timeout_ms);
        spec
    }
}

pub(crate) async fn update(inner: &Arc<Inner>, name: &Name, update: Update) -> Result<Updated> {
    heal::one(inner, name).await?;
    let claim = Claim::take(&layout::files(&inner.options.paths, name), name).await?;
    let (files, mut record) = list::load(inner, name)?;
    let spec = update.applied(&record.spec);
    spec.validate()?;
    let mut updated = Updated::default();
    let lives = heal::lives(&files)?;
    if Kind::Processes.differs(&record.spec, &spec) && !(lives && record.cgroup.is_some()) {
        check_group(inner, &spec).await?;
    }
    let mut boots = None;
    if lives {
        // Refused more often than all the rest, and taken back if that is.
        let unpublished = record.current().publish_all && !spec.publish_all;
        let moved = match record.spec.forwards == spec.forwards && !unpublished {
            true => None,
            false => Some(Moved::to(inner, &files, &mut record, &spec).await?),
        };
        let changed = async {
            kept::begin(&files, &mut record, &spec).await?;
            let client = Client::new(files.api_socket()).with_timeout(PATIENCE);
            change(&client, &record, &spec, &mut updated).await
        };
        let has = match changed.await {
            Ok(has) => has,
            Err(error) => {
                kept::back(&files, &mut record).await;
                if let Some(moved) = moved {
                    moved.back(inner, &files, &mut record).await;
                }
                return Err(error);
            }
        };
        boots = (has != spec).then(|| Box::new(has));
        if let Some(moved) = moved {
            moved.tell(&mut updated);
            moved.stay(&mut record);
        }
    } else {
        for kind in Kind::ALL
            .into_iter()
            .filter(|kind| kind.differs(&record.spec, &spec))
        {
            match kind {
                Kind::Labels | Kind::Restart => updated.now.push(kind.name()),
                _ => updated.next_start.push(kind.name()),
            }
        }
        if record.spec.forwards != spec.forwards {
            updated.next_start.push(forwards::NAME);
        }
        record.forwards.clone_from(&spec.forwards);
    }
    record.spec = spec;
    record.boots = boots;
    record.limiting = None;
    save(files, record).await?;
    drop(claim);
    Ok(updated)
}

/// What of a machine will be other from its next start on and is no figure, by name.
pub(crate) fn others(is: &MachineSpec, to_be: &MachineSpec) -> Vec<String> {
    let kinds = [Kind::Environment, Kind::Hostname, Kind::Egress, Kind::BootTimeout];
    let differ = kinds.into_iter().filter(|kind| kind.differs(is, to_be));
    differ.map(|kind| kind.name().to_owned()).collect()
}

/// Refuses what no control group of this host can keep, as the next start would.
async fn check_group(inner: &Arc<Inner>, spec: &MachineSpec) -> Result<()> {
    if of_processes(&spec.limits) == Limits::default() {
        return Ok(());
    }
    let (inner, spec) = (Arc::clone(inner), spec.clone());
    task::blocking(move |_| cgroup::Place::find(&inner.options, &spec).map(drop)).await
}

/// Changes what the VMM and the kernel keep of a machine that runs, and gives what it has then.
async fn change(
    client: &Client,
    record: &Record,
    spec: &MachineSpec,
    updated: &mut Updated,
) -> Result<MachineSpec> {
    let was = record.current();
    let mut has = spec.clone();
    for kind in Kind::ALL {
        let asked = kind.differs(&record.spec, spec);
        let holds = !kind.differs(was, spec) || (asked && kind.change(client, record, spec).await?);
        if !holds {
            kind.copy(was, &mut has);
        }
        match (asked, holds) {
            (false, _) => {}
            (true, true) => updated.now.push(kind.name()),
            (true, false) => updated.next_start.push(kind.name()),
        }
    }
    Ok(has)
}

pub(super) async fn save(files: Files, record: Record) -> Result<()> {
    task::blocking(move |_| record.save(&files.record())).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn what_is_not_named_stays() {
        let spec = MachineSpec::new().label("a", "1").label("b", "2").limits(Limits {
            cpu_weight: Some(50),
            pids: Some(100),
            ..Limits::default()
        });
        assert_eq!(Update::default().applied(&spec), spec);
        let update = Update {
            cpu_weight: Change::Remove,
            send: Change::Set(Rate::new(5)),
            labels: BTreeMap::from([("a".to_owned(), None), ("c".to_owned(), Some("3".to_owned()))]),
            memory_mib: Some(512),
            ..Update::default()
        };
        let new = update.applied(&spec);
        assert_eq!((new.limits.cpu_weight, new.limits.pids), (None, Some(100)));
        assert_eq!(new.limits.send, Some(Rate::new(5)));
        assert_eq!(new.labels.keys().collect::<Vec<_>>(), ["b", "c"]);
        let changed: Vec<_> = Kind::ALL
            .into_iter()
            .filter(|kind| kind.differs(&spec, &new))
            .map(Kind::name)
            .collect();
        assert_eq!(
            changed,
            ["limits of the processes", "network limits", "labels", "memory"]
        );
    }

    #[test]
    fn each_kind_is_copied_alone() {
        let mut other = MachineSpec::new()
            .label("a", "1")
            .cpus(3)
            .memory_mib(777)
            .limits(Limits {
                cpu_quota: Some("0.5".parse().unwrap()),
                cpu_weight: Some(50),
                cpu_set: Some("0".parse().unwrap()),
                memory_max_mib: Some(900),
                pids: Some(100),
                disk_bandwidth: Some(Rate::new(1)),
                disk_ops: Some(Rate::new(2)),
                receive: Some(Rate::new(3)),
                send: Some(Rate::new(4)),
                memory_target_mib: Some(99),
            });
        other.publish_all = true;
        other.restart = Restart::Always;
        other.env.insert("A".to_owned(), "1".to_owned());
        other.hostname = Some("other".to_owned());
        other.egress = vec!["deny".parse().unwrap()];
        other.boot_timeout_ms = 1;
        for kind in Kind::ALL {
            let mut spec = MachineSpec::new();
            kind.copy(&other, &mut spec);
            for any in Kind::ALL {
                assert_eq!(any.differs(&spec, &other), any != kind, "{any:?} of {kind:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_machine_that_is_stopped_has_it_from_its_next_start() {
        let temp = tempfile::tempdir().unwrap();
        let inner = crate::Knaller::with_paths(crate::Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        })
        .unwrap()
        .inner;
        let name: Name = "web".parse().unwrap();
        let files = layout::files(&inner.options.paths, &name);
        let record = Record::new(name.clone(), files.runtime.clone(), MachineSpec::new());
        drop(Claim::create(files.clone(), &record).unwrap().unwrap());
        std::fs::remove_file(files.creating()).unwrap();
        let change = Update {
            cpus: Some(2),
            disk_ops: Change::Set(Rate::new(100)),
            labels: BTreeMap::from([("a".to_owned(), Some("1".to_owned()))]),
            restart: Some(Restart::Always),
            env: BTreeMap::from([("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None)]),
            hostname: Change::Set("other".to_owned()),
            ..Update::default()
        };
        let updated = update(&inner, &name, change).await.unwrap();
        assert_eq!(updated.now, ["labels", "restart policy"]);
        assert_eq!(
            updated.next_start,
            ["disk limits", "CPUs", "environment", "host name"]
        );
        let spec = Record::load(&files.record()).unwrap().spec;
        assert_eq!((spec.cpus, spec.limits.disk_ops), (2, Some(Rate::new(100))));
        assert_eq!(
            (spec.restart, spec.hostname.as_deref()),
            (Restart::Always, Some("other"))
        );
        assert_eq!(spec.env, BTreeMap::from([("A".to_owned(), "1".to_owned())]));
        let wrong = Update {
            cpus: Some(0),
            ..Update::default()
        };
        assert!(matches!(
            update(&inner, &name, wrong).await,
            Err(Error::InvalidSpec(_))
        ));
        assert_eq!(Record::load(&files.record()).unwrap().spec, spec);
    }
}
