//! Snapshots whose files are the caller's: the guest's state and memory where the caller wants them, and its disks
//! copied by the caller itself, in the moment in which the machine stands still.
//!
//! The invariant: the machine goes on whatever becomes of the caller's part (an error, a panic, a dropped future, a
//! killed process), and nothing of the snapshot is in this program's folders: what is to be kept of it is in
//! [`RawSnapshot`] and in the two files.
//!
//! ```text
//! guest: freeze ─ VMM: pause ─ state, memory ─ the caller: its disks ─ VMM: resume ─ guest: thaw
//! ```

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::description::Description;
use super::restore::{Clone, can_serve, clone_of, load};
use super::store::Held;
use super::take::{claim, still};
use crate::handover::Guest;
use crate::knaller::Inner;
use crate::start::{StartEvent, StartOptions};
use crate::{
    Error, Machine, MachineSpec, Name, RestoreSpec, Result, Root, Timeline, VolumeSource, heal, list, task,
    volume,
};

/// A machine that stands still, as its caller sees it who copies the disks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paused {
    /// What is to be copied: every disk that the machine can write to, its root first, then its volumes in their order. Their
    /// file systems are in order: the guest has written out all it had, and waits.
    pub disks: Vec<PathBuf>,
    /// Written already.
    pub state: PathBuf,
    /// Written already, as large as the guest's memory and sparse.
    pub memory: PathBuf,
}

/// A snapshot whose files are its owner's. It can be serialized, to be kept with them; it has the machine's whole spec
/// in it, with the environment's secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawSnapshot {
    /// The VMM's state. To be changed where the file is moved.
    pub state: PathBuf,
    /// The guest's memory. To be changed where the file is moved.
    pub memory: PathBuf,
    description: Description,
}

impl RawSnapshot {
    /// How many disks a machine of it is to be given: as many as [`Paused::disks`] had.
    #[must_use]
    pub fn disks(&self) -> usize {
        written(&self.description.record.spec).count()
    }
}

/// A raw snapshot was taken.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RawTaken {
    pub snapshot: RawSnapshot,
    /// How long the machine stood still, the caller's part included.
    pub paused: Duration,
    /// What of the guest could not be made to stand still: a sentence each.
    pub warnings: Vec<String>,
}

/// What a machine can write to.
enum Written {
    Root,
    Volume(usize),
}

fn written(spec: &MachineSpec) -> impl Iterator<Item = Written> + '_ {
    let root = matches!(spec.root, Root::Raw(_)) && !spec.read_only;
    let volumes = spec.volumes.iter().enumerate();
    let volumes = volumes
        .filter(|(_, volume)| !volume.read_only)
        .map(|(number, _)| Written::Volume(number));
    root.then_some(Written::Root).into_iter().chain(volumes)
}

pub(crate) async fn create_raw<F, W, E>(
    inner: &Arc<Inner>,
    machine: &Name,
    state: &Path,
    memory: &Path,
    while_paused: F,
) -> Result<RawTaken>
where
    F: FnOnce(Paused) -> W,
    W: Future<Output = std::result::Result<(), E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    heal::one(inner, machine).await?;
    let claim = claim(inner, machine).await?;
    let to = Guest {
        state: fresh(state)?,
        memory: fresh(memory)?,
    };
    if to.state == to.memory {
        return Err(Error::io("write", &to.memory)(
            io::ErrorKind::AlreadyExists.into(),
        ));
    }
    let (files, record) = list::load(inner, machine)?;
    if !matches!(record.spec.root, Root::Raw(_) | Root::Initramfs) {
        return Err(Error::NotOwnersDisk(machine.clone()));
    }
    let paths = &inner.options.paths;
    let disks = written(&record.spec).filter_map(|written| match (written, &record.spec.root) {
        (Written::Root, Root::Raw(path)) => Some(path.clone()),
        (Written::Root, _) => None,
        (Written::Volume(number), _) => Some(volume::path(paths, &record.spec.volumes.get(number)?.source)),
    });
    let paused = Paused {
        disks: disks.collect(),
        state: to.state.clone(),
        memory: to.memory.clone(),
    };
    let half = Half(Some(&to));
    let copied = async {
        let copied = while_paused(paused).await;
        copied.map_err(|error| Error::WhilePaused(error.into()))
    };
    let captured = Box::pin(still(inner, &files, &record, machine.clone(), &to, None, copied)).await?;
    drop(claim);
    half.keep();
    Ok(RawTaken {
        snapshot: RawSnapshot {
            state: to.state,
            memory: to.memory,
            description: captured.description,
        },
        paused: captured.paused,
        warnings: captured.warnings,
    })
}

/// An absolute path at which there is nothing yet.
fn fresh(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(Error::io("find", path))?;
    match path.symlink_metadata() {
        Ok(_) => Err(Error::io("write", &path)(io::ErrorKind::AlreadyExists.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(error) => Err(Error::io("look at", &path)(error)),
    }
}

/// Files of a snapshot that is not whole, removed unless it is kept.
struct Half<'a>(Option<&'a Guest>);

impl Half<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        if let Some(guest) = self.0 {
            for path in [&guest.state, &guest.memory] {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

pub(crate) async fn restore_raw(
    inner: &Arc<Inner>,
    snapshot: RawSnapshot,
    disks: Vec<PathBuf>,
    spec: RestoreSpec,
    options: StartOptions,
    observer: &mut (dyn FnMut(StartEvent) + Send),
) -> Result<(Machine, Timeline)> {
    heal::all(inner).await?;
    let (wanted, given) = (snapshot.disks(), disks.len());
    if wanted != given {
        return Err(Error::RawDisks { wanted, given });
    }
    let RawSnapshot {
        state,
        memory,
        mut description,
    } = snapshot;
    can_serve(&description, spec.memory)?;
    let own = &mut description.record.spec;
    let places: Vec<Written> = written(own).collect();
    for (place, disk) in places.into_iter().zip(disks) {
        let disk = std::path::absolute(&disk).map_err(Error::io("find", &disk))?;
        match place {
            Written::Root => own.root = Root::Raw(disk),
            Written::Volume(number) => {
                if let Some(volume) = own.volumes.get_mut(number) {
                    volume.source = VolumeSource::File(disk);
                }
            }
        }
    }
    let held = task::blocking(move |_| {
        let real = |path: PathBuf| match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoFile(path)),
            real => real.map_err(Error::io("find", &path)),
        };
        let guest = Guest {
            state: real(state)?,
            memory: real(memory)?,
        };
        Ok(Arc::new(Held::owners(guest, description)))
    })
    .await?;
    let fallback = spec.cold_fallback;
    let clone: Clone = clone_of(&held, spec);
    load(inner, clone, Ok(()), fallback, options, observer).await
}
