//! What killed processes have left, put right and told.
//!
//! The invariant: nothing goes that anybody still uses, or works on. Most of it is healed at the beginning of every command
//! (`heal`); here it is told, with what no command comes across: leftovers in the other folders, sockets without a machine,
//! VMMs without one.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::doctor::orphans;
use crate::knaller::Inner;
use crate::network::direct::{self, Reached};
use crate::record::Record;
use crate::snapshot::Snapshots;
use crate::{
    Damaged, Error, Name, Options, Paths, Result, damage, folder, heal, layout, process, task, volume,
};

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that was put right, or could not be. As text it is a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Healed {
    /// A first start was killed: there is no such machine.
    NeverStarted {
        name: Name,
    },
    /// A later start was killed: the machine lies stopped.
    NotStarted {
        name: Name,
    },
    Renamed {
        name: Name,
        from: Name,
    },
    /// Whoever made the machine stand still was killed.
    Resumed {
        name: Name,
    },
    /// Whoever took a snapshot of a machine that its user had paused was killed: it is paused.
    PausedAgain {
        name: Name,
    },
    /// Whoever changed its forwards was killed, or what carried one: they lead to it again.
    Forwards {
        name: Name,
    },
    /// Whoever changed its limits was killed: they are as they were.
    Limits {
        name: Name,
    },
    /// It has ended, and nobody was there to take its sockets away.
    Ended {
        name: Name,
    },
    /// It has ended, and was to be removed then.
    Removed {
        name: Name,
    },
    /// It was there for somebody who was killed.
    Forsaken {
        name: Name,
    },
    /// Nothing could be done for this machine.
    Failed {
        name: Name,
        reason: String,
    },
    /// This machine's record cannot be read: it stays as it is.
    Damaged {
        name: Name,
        reason: String,
    },
    /// The same of a snapshot.
    DamagedSnapshot {
        name: Name,
        reason: String,
    },
    /// Something that is in the folder of the machines or snapshots and is neither: it stays.
    Stray {
        path: PathBuf,
    },
    /// What was half made or half removed in one of the folders.
    Leftovers {
        /// `machines`, `snapshots`, `templates` or `volumes`.
        of: String,
        count: usize,
    },
    /// Sockets that belong to no machine.
    Sockets {
        folder: PathBuf,
    },
    /// Rules of the host's for machines that have ended.
    Network,
    /// Rules of the host's for machines that run were gone: they are there again.
    Rules,
    /// A VMM that belongs to no machine.
    Orphan {
        pid: String,
        ended: bool,
    },
}

impl fmt::Display for Healed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverStarted { name } => {
                write!(
                    f,
                    "the first start of {name} was killed: what there was of it is removed"
                )
            }
            Self::NotStarted { name } => {
                write!(
                    f,
                    "a start of {name} was killed: its processes are ended, and it lies stopped"
                )
            }
            Self::Renamed { name, from } => {
                write!(f, "whoever renamed {from} was killed: it is called {name} now")
            }
            Self::Resumed { name } => {
                write!(f, "whoever made {name} stand still was killed: it goes on")
            }
            Self::PausedAgain { name } => {
                write!(
                    f,
                    "whoever took a snapshot of {name}, which was paused, was killed: it is paused again"
                )
            }
            Self::Forwards { name } => {
                write!(
                    f,
                    "port forwards of {name} were broken off: they lead to it again"
                )
            }
            Self::Limits { name } => {
                write!(
                    f,
                    "whoever changed limits of {name} was killed: they are as they were"
                )
            }
            Self::Ended { name } => write!(f, "{name} has ended: its sockets are removed"),
            Self::Removed { name } => write!(f, "{name} has ended and was to go then: it is removed"),
            Self::Forsaken { name } => {
                write!(f, "whoever {name} was running for was killed: it is removed")
            }
            Self::Failed { name, reason } => write!(f, "{name} cannot be put right: {reason}"),
            Self::Damaged { name, reason } => write!(
                f,
                "{name} is damaged and stays as it is: {reason}: `knaller rm --force {name}` removes it"
            ),
            Self::DamagedSnapshot { name, reason } => write!(
                f,
                "snapshot {name} is damaged and stays as it is: {reason}: `knaller snapshot rm {name}` removes it"
            ),
            Self::Stray { path } => {
                write!(f, "{} is none of ours and stays", path.display())
            }
            Self::Leftovers { of, count } => match (count, of.strip_suffix('s')) {
                (1, Some(one)) => write!(f, "1 unfinished or half removed {one} is gone"),
                _ => write!(f, "{count} unfinished or half removed {of} are gone"),
            },
            Self::Sockets { folder } => {
                write!(f, "{} belonged to no machine and is removed", folder.display())
            }
            Self::Network => {
                f.write_str("packet rules were left of machines that have ended: they are removed")
            }
            Self::Rules => {
                f.write_str("packet rules for machines that run were taken away: they are there again")
            }
            Self::Orphan { pid, ended: true } => {
                write!(
                    f,
                    "the VMM with process id {pid} belonged to no machine and is ended"
                )
            }
            Self::Orphan { pid, ended: false } => write!(
                f,
                "the VMM with process id {pid} belongs to no machine here, and runs on: --force ends it"
            ),
        }
    }
}

pub(crate) async fn prune(inner: &Arc<Inner>, force: bool) -> Result<Vec<Healed>> {
    let inner = Arc::clone(inner);
    task::blocking(move |_| {
        let options = &inner.options;
        let mut healed = heal::all_told(options)?;
        healed.extend(leftovers(&options.paths)?);
        let snapshots = Snapshots::open(&options.paths)?.damaged()?;
        healed.extend(
            snapshots
                .into_iter()
                .map(|Damaged { name, reason, .. }| Healed::DamagedSnapshot { name, reason }),
        );
        let strays = damage::strays(options).into_iter();
        healed.extend(strays.map(|path| Healed::Stray { path }));
        healed.extend(orphans_of(options, force)?);
        // When those are gone to whom they may have belonged.
        healed.extend(sockets(&options.paths)?);
        healed.extend(network(options)?);
        Ok(healed)
    })
    .await
}

/// What boots that have ended left of their way to the world, whosever folder they were of, and what those that run lack of it.
fn network(options: &Options) -> Result<Vec<Healed>> {
    // Where it is not, nothing was made with it.
    let Ok(nft) = options.nft() else {
        return Ok(Vec::new());
    };
    let gone = direct::release(&nft, None)?.then_some(Healed::Network);
    let records = heal::names(&options.paths)?.into_iter();
    let records =
        records.filter_map(|name| Record::load(&layout::files(&options.paths, &name).record()).ok());
    let reached = records
        .map(|record| {
            let Record {
                instance,
                forwards,
                ipv6,
                ..
            } = record;
            (instance, Reached { forwards, ipv6 })
        })
        .collect();
    let back = direct::mend(&nft, &reached)?.then_some(Healed::Rules);
    Ok(gone.into_iter().chain(back).collect())
}

fn leftovers(paths: &Paths) -> Result<Vec<Healed>> {
    let folders = [
        ("machines", layout::vms(paths)),
        ("snapshots", paths.data.join("snapshots")),
        ("templates", paths.data.join("templates")),
    ];
    let swept = folders.map(|(of, folder)| (of, folder::sweep(&folder)));
    let volumes = ("volumes", volume::sweep(paths)?);
    let found = swept.into_iter().chain([volumes]).filter(|(_, count)| *count > 0);
    Ok(found
        .map(|(of, count)| Healed::Leftovers {
            of: of.to_owned(),
            count,
        })
        .collect())
}

fn orphans_of(options: &Options, force: bool) -> Result<Vec<Healed>> {
    let mut healed = Vec::new();
    for (pid, boot) in orphans::find(options)? {
        let ended = force && process::end(&boot, PATIENCE).map_err(Error::system("end processes"))?;
        healed.push(Healed::Orphan { pid, ended });
    }
    Ok(healed)
}

/// Removes folders of sockets that no machine's record names and on which no VMM answers.
fn sockets(paths: &Paths) -> Result<Vec<Healed>> {
    let entries = std::fs::read_dir(&paths.runtime).map_err(Error::io("list", &paths.runtime))?;
    let folders: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.parse::<Name>().is_ok())
        })
        .map(|entry| entry.path())
        .collect();
    // After the folders: a machine that is started meanwhile has its record before its sockets.
    let known: HashSet<PathBuf> = heal::names(paths)?
        .iter()
        .filter_map(|name| Record::load(&layout::files(paths, name).record()).ok())
        .map(|record| record.runtime)
        .collect();
    let damaged: HashSet<PathBuf> = heal::names(paths)?
        .iter()
        .map(|name| layout::files(paths, name).runtime)
        .collect();
    let mut healed = Vec::new();
    for folder in folders {
        if known.contains(&folder) || damaged.contains(&folder) || answers(&folder) {
            continue;
        }
        std::fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
        healed.push(Healed::Sockets { folder });
    }
    Ok(healed)
}

/// Whether anybody listens.
fn answers(folder: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(folder.join("api.sock")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Claim;
    use crate::process::stand_in;
    use crate::{Knaller, MachineSpec, runtime_folder};

    fn knaller(temp: &tempfile::TempDir) -> Knaller {
        Knaller::with_paths(Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        })
        .unwrap()
    }

    fn machine(knaller: &Knaller, name: &str, spec: MachineSpec) -> layout::Files {
        let name: Name = name.parse().unwrap();
        let files = layout::files(&knaller.options().paths, &name);
        let record = Record::new(name, files.runtime.clone(), spec);
        drop(Claim::create(files.clone(), &record).unwrap().unwrap());
        runtime_folder::make(&files).unwrap();
        files
    }

    #[tokio::test]
    async fn what_was_left_is_told_and_only_once() {
        let temp = tempfile::tempdir().unwrap();
        let knaller = knaller(&temp);
        let paths = &knaller.options().paths;
        machine(&knaller, "never", MachineSpec::new());
        let later = machine(&knaller, "later", MachineSpec::new());
        std::fs::write(later.config_socket(), "").unwrap();
        let once = machine(&knaller, "once", MachineSpec::new().remove_on_exit(true));
        let ended = machine(&knaller, "over", MachineSpec::new());
        for files in [&later, &once, &ended] {
            std::fs::remove_file(files.creating()).unwrap();
        }
        let broken = machine(&knaller, "broken", MachineSpec::new());
        std::fs::write(broken.record(), "{").unwrap();
        for folder in [
            paths.runtime.join("stray"),
            paths.data.join("snapshots/.new-x"),
            paths.data.join("vms/.old-y"),
        ] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::create_dir(paths.data.join("volumes")).unwrap();
        std::fs::write(paths.data.join("volumes/data.new"), "").unwrap();
        let healed = knaller.prune(false).await.unwrap();
        let told: Vec<String> = healed.iter().map(ToString::to_string).collect();
        let stray = paths.runtime.join("stray");
        let expected = [
            "later: its processes are ended",
            "first start of never was killed",
            "once has ended and was to go",
            "over has ended: its sockets",
            "broken is damaged and stays",
            "1 unfinished or half removed machine is",
            "1 unfinished or half removed snapshot is",
            "1 unfinished or half removed volume is",
            stray.to_str().unwrap(),
        ];
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (number, text) in [(0, "broken is damaged"), (1, "a start of later was killed")] {
            assert!(told[number].contains(text), "{told:?}");
        }
        let text = told.join("\n");
        for part in expected.iter().skip(1) {
            assert!(text.contains(part), "{part}: {told:?}");
        }
        assert!(!stray.exists() && broken.runtime.exists());
        // What cannot be put right is told again, all else is done.
        let again = knaller.prune(false).await.unwrap();
        assert!(matches!(again.as_slice(), [Healed::Damaged { .. }]), "{again:?}");
        std::fs::remove_dir_all(&broken.data).unwrap();
        let json = serde_json::to_value(&healed).unwrap();
        assert_eq!(
            json[1],
            serde_json::json!({"kind": "not_started", "name": "later"})
        );
    }

    #[tokio::test]
    async fn a_vmm_without_a_machine_is_ended_only_by_force() {
        let temp = tempfile::tempdir().unwrap();
        let knaller = knaller(&temp);
        let socket = knaller.options().paths.runtime.join("lost/api.sock");
        let instance = uuid::Uuid::new_v4().to_string();
        let mut vmm = stand_in::start(stand_in::vmm(&socket, &instance), ":");
        let orphan = |ended| Healed::Orphan {
            pid: vmm.id().to_string(),
            ended,
        };
        let [spared, killed] = [orphan(false), orphan(true)];
        assert_eq!(knaller.prune(false).await.unwrap(), [spared]);
        assert_eq!(knaller.prune(true).await.unwrap(), [killed]);
        assert!(!vmm.wait().unwrap().success());
        assert_eq!(knaller.prune(true).await.unwrap(), []);
    }
}
