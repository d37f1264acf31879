//! Volumes: disks with a name that outlive the machines they are mounted in.
//!
//! The invariant: a disk that somebody writes to is in one running machine, and one that several machines read nobody
//! writes to. Whether a machine runs is seen from its processes; who starts one looks under a lock (`DATA/volumes`,
//! flock(2)), and what he found holds until his machine's record says what it has.

mod users;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use images::Task;
use images::files::private_folder;
use images::overlay::create_overlay;
use images::raw_disk::{self, RawDiskError};
use images::rootfs::Rootfs;

use crate::flocked::Flocked;
use crate::knaller::Inner;
use crate::record::Record;
use crate::snapshot::Snapshots;
use crate::{Error, Knaller, MachineSpec, Name, Paths, Result, Root, VolumeSource, task};

use users::of as users_of;

const ENDING: &str = "ext4";

/// That of one in the making.
const FRESH: &str = "new";

/// What a volume that nobody has sized has room for: it is sparse.
const DEFAULT_MIB: u64 = 8 * 1024;

/// A volume, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    pub name: Name,
    /// The disk: a raw ext4 file.
    pub path: PathBuf,
    /// What it has room for, in bytes.
    pub size: u64,
    /// What it takes of the host's disk, in bytes.
    pub taken: u64,
    /// Machines that have it in their spec, running or not.
    pub users: Vec<String>,
}

impl Knaller {
    /// All volumes, by name.
    ///
    /// # Errors
    /// Their folder cannot be read.
    pub async fn volumes(&self) -> Result<Vec<VolumeInfo>> {
        let inner = std::sync::Arc::clone(&self.inner);
        task::blocking(move |_| {
            let folder = folder(&inner.options.paths)?;
            let entries = fs::read_dir(&folder).map_err(Error::io("list", &folder))?;
            let mut found = Vec::new();
            for entry in entries {
                let path = entry.map_err(Error::io("list", &folder))?.path();
                found.extend(info(&inner, &path)?);
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
        .await
    }

    /// Makes an empty volume with room for `size_mib` MiB.
    ///
    /// # Errors
    /// There is one of this name, the size cannot be, or the disk is full.
    pub async fn create_volume(&self, name: &Name, size_mib: Option<u64>) -> Result<PathBuf> {
        let (options, name) = (self.options().clone(), name.clone());
        task::blocking(move |task| {
            let folder = folder(&options.paths)?;
            // Two who make one at once would write into each other's file, and one would lose what is on it by then.
            let _lock = lock(&folder)?;
            let path = folder.join(file_name(&name));
            if path.exists() {
                return Err(Error::VolumeExists(name));
            }
            make(&options.paths, &path, size_mib.unwrap_or(DEFAULT_MIB), task)?;
            Ok(path)
        })
        .await
    }

    /// Removes a volume and all that is on it.
    ///
    /// # Errors
    /// There is none, a machine has it in its spec, a snapshot needs it, or a machine is damaged, so that nobody knows
    /// whether it has.
    pub async fn remove_volume(&self, name: &Name) -> Result<()> {
        let (inner, name) = (std::sync::Arc::clone(&self.inner), name.clone());
        task::blocking(move |_| {
            let folder = folder(&inner.options.paths)?;
            let _lock = lock(&folder)?;
            let path = folder.join(file_name(&name));
            if !path.exists() {
                return Err(Error::NoVolume(name));
            }
            let users = users_of(&inner, &path)?;
            if !users.is_empty() {
                return Err(Error::VolumeHeld { volume: name, users });
            }
            users::certain(&inner, &path, false)?;
            let snapshots = Snapshots::open(&inner.options.paths)?.of_volume(&name)?;
            if !snapshots.is_empty() {
                return Err(Error::VolumeNeeded {
                    volume: name,
                    snapshots,
                });
            }
            fs::remove_file(&path).map_err(Error::io("remove", &path))
        })
        .await
    }
}

/// Nothing for a file that is no volume, or gone by now.
fn info(inner: &Inner, path: &Path) -> Result<Option<VolumeInfo>> {
    let metadata = path.symlink_metadata().ok().filter(fs::Metadata::is_file);
    let (Some(name), Some(metadata)) = (name_of(path), metadata) else {
        return Ok(None);
    };
    Ok(Some(VolumeInfo {
        name,
        path: path.to_owned(),
        size: metadata.len(),
        taken: metadata.blocks().saturating_mul(512),
        users: users_of(inner, path)?,
    }))
}

fn name_of(path: &Path) -> Option<Name> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(ENDING)?.strip_suffix('.')?.parse().ok()
}

/// Where the volumes are.
fn folder(paths: &Paths) -> Result<PathBuf> {
    let folder = paths.data.join("volumes");
    private_folder(&folder)?;
    Ok(folder)
}

fn file_name(name: &Name) -> String {
    format!("{name}.{ENDING}")
}

fn make(paths: &Paths, path: &Path, size_mib: u64, task: &Task) -> Result<()> {
    // Whole or not there: a start that is killed must not leave half a disk to the next.
    let fresh = path.with_extension(FRESH);
    let _ = fs::remove_file(&fresh);
    create_overlay(&paths.data, &fresh, size_mib.saturating_mul(1 << 20), task)?;
    fs::rename(&fresh, path).map_err(Error::io("rename", &fresh))
}

/// Held while it is looked who has which volume, and while one is made.
fn lock(folder: &Path) -> Result<Flocked> {
    let locked = File::open(folder).and_then(Flocked::alone);
    locked.map_err(Error::io("lock", folder))
}

/// Removes the volumes that were being made by who was killed: how many there were. Waits for whoever makes one.
pub(crate) fn sweep(paths: &Paths) -> Result<usize> {
    let folder = folder(paths)?;
    let _lock = lock(&folder)?;
    let entries = fs::read_dir(&folder).map_err(Error::io("list", &folder))?;
    let mut gone = 0;
    for entry in entries {
        let path = entry.map_err(Error::io("list", &folder))?.path();
        let is_file = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
        if is_file && path.extension().is_some_and(|ending| ending == FRESH) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// While it lives, nobody else looks who has which volume. To be held until a machine's record says what it has.
#[derive(Debug)]
pub(crate) struct Hold(#[expect(dead_code, reason = "held, never looked at")] Flocked);

/// Makes the volumes of a machine ready: those with a name are made where they are not there, and nobody else may be using one,
/// or the disk of the caller's that is its root, in a way that does harm (see [`users::against`]).
pub(crate) fn prepare(inner: &Inner, record: &Record, task: &Task) -> Result<Option<Hold>> {
    let raw = raw_root(&record.spec);
    if record.spec.volumes.is_empty() && raw.is_none() {
        return Ok(None);
    }
    let paths = &inner.options.paths;
    let folder = folder(paths)?;
    let lock = lock(&folder)?;
    for volume in &record.spec.volumes {
        let path = path(paths, &volume.source);
        match &volume.source {
            VolumeSource::Name(_) if !path.exists() => make(paths, &path, DEFAULT_MIB, task)?,
            VolumeSource::Name(_) => {}
            // Whole, clean, and nothing that can be told writes to it.
            VolumeSource::File(_) => drop(Rootfs::open(&path)?),
        }
        users::certain(inner, &path, true)?;
        let users = users::against(inner, &record.name, &path, volume.read_only)?;
        if !users.is_empty() {
            let volume = volume.to_string();
            return Err(Error::VolumeInUse { volume, users });
        }
    }
    if let Some((path, read_only)) = raw {
        // Asked first, since the kernel does not know a machine's name.
        users::certain(inner, path, true)?;
        let users = users::against(inner, &record.name, path, read_only)?;
        if !users.is_empty() {
            let (path, by) = (path.to_owned(), format!("{} has it", users.join(", ")));
            return Err(RawDiskError::InUse { path, by }.into());
        }
        raw_disk::check(path, read_only)?;
    }
    Ok(Some(Hold(lock)))
}

/// The disk of the caller's that a machine has as its root, and whether it only reads it.
pub(crate) fn raw_root(spec: &MachineSpec) -> Option<(&Path, bool)> {
    match &spec.root {
        Root::Raw(path) => Some((path, spec.read_only)),
        _ => None,
    }
}

/// Where the disk of a volume is.
pub(crate) fn path(paths: &Paths, source: &VolumeSource) -> PathBuf {
    match source {
        VolumeSource::Name(name) => paths.data.join("volumes").join(file_name(name)),
        VolumeSource::File(path) => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_many_who_make_a_volume_at_once_one_does() {
        let temp = tempfile::tempdir().unwrap();
        let knaller = Knaller::with_paths(Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        })
        .unwrap();
        let name: Name = "data".parse().unwrap();
        let makers = (0..8).map(|_| knaller.create_volume(&name, Some(32)));
        let made = futures_util::future::join_all(makers).await;
        let (done, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1, "{refused:?}");
        let refused: Vec<_> = refused.into_iter().filter_map(Result::err).collect();
        assert!(
            refused
                .iter()
                .all(|error| matches!(error, Error::VolumeExists(_))),
            "{refused:?}"
        );
        let folder = folder(&knaller.options().paths).unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    }
}
