//! The snapshots of a data folder.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::checksum;
use super::description::{Description, FILE};
use crate::folder_lock::{FolderLock, lock};
use crate::{Error, Name, Paths, Result};

/// How names of snapshots in the making begin: no name does.
const FRESH: &str = ".new-";

/// The snapshots of one data folder.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    folder: PathBuf,
}

/// A snapshot that nobody removes for as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) folder: PathBuf,
    pub(crate) description: Description,
    _keeps: Keeps,
}

/// What keeps a held snapshot where it is.
#[derive(Debug)]
enum Keeps {
    Lock {
        _lock: FolderLock,
    },
    /// It goes with this.
    Fresh(#[expect(dead_code, reason = "it is there to be dropped")] Fresh),
}

/// A snapshot in the making, removed unless it is finished.
#[derive(Debug)]
pub(super) struct Fresh {
    folder: PathBuf,
    name: PathBuf,
    _lock: FolderLock,
}

/// A snapshot, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SnapshotInfo {
    pub name: Name,
    /// Of which machine it was taken.
    pub machine: Name,
    /// Seconds since the Unix epoch.
    pub created: u64,
    pub vmm: String,
    pub vmm_version: String,
    /// The kernel bundle's id.
    pub kernel: String,
    /// The base image's id, where the machine had an overlay over one.
    pub image: Option<String>,
    pub cpus: u8,
    pub memory_mib: u32,
    /// How long the machine stood still for it, in milliseconds.
    pub paused_ms: u64,
    /// What its files take of the disk, in bytes; what they share with others by reflinks counts as well.
    pub size: u64,
}

impl Snapshots {
    /// Makes the folder if need be.
    pub(crate) fn open(paths: &Paths) -> Result<Self> {
        let folder = paths.data.join("snapshots");
        images::files::private_folder(&folder).map_err(|error| Error::Folder {
            path: folder.clone(),
            reason: error.to_string(),
        })?;
        let snapshots = Self { folder };
        snapshots.sweep()?;
        Ok(snapshots)
    }

    /// A place for a new snapshot of this name.
    pub(super) fn fresh(&self, name: &Name) -> Result<Fresh> {
        let named = self.folder.join(name.as_str());
        if named.exists() {
            return Err(Error::SnapshotExists(name.clone()));
        }
        self.place(&format!("{FRESH}{name}"), named)
    }

    /// A place for a snapshot that is never to have a name.
    pub(super) fn nameless(&self) -> Result<Fresh> {
        let id = uuid::Uuid::new_v4();
        self.place(&format!("{FRESH}{id}"), self.folder.join(id.to_string()))
    }

    fn place(&self, fresh: &str, name: PathBuf) -> Result<Fresh> {
        let folder = self.folder.join(fresh);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("make the folder", &folder)(error));
            }
            _ => {}
        }
        let lock =
            lock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(Error::io("lock", &folder))?;
        let lock = lock.ok_or_else(|| Error::SnapshotBusy(name.clone()))?;
        Ok(Fresh {
            folder,
            name,
            _lock: lock,
        })
    }

    pub(crate) fn get(&self, name: &Name) -> Result<Held> {
        let folder = self.folder.join(name.as_str());
        let lock =
            lock(&folder, FlockOperation::NonBlockingLockShared).map_err(Error::io("lock", &folder))?;
        let Some(lock) = lock else {
            return Err(match folder.exists() {
                true => Error::SnapshotBusy(folder),
                false => Error::NoSnapshot(name.clone()),
            });
        };
        Held::new(folder, lock)
    }

    /// All there are, by name. One that is damaged is left out, and the log says so.
    pub(crate) fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let mut all: Vec<_> = self
            .names()?
            .into_iter()
            .filter_map(|name| {
                let folder = self.folder.join(name.as_str());
                let description = Description::load(&folder);
                let description = description.inspect_err(|error| tracing::warn!(%name, %error, "left out"));
                Some(info(&folder, description.ok()?))
            })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    pub(crate) fn remove(&self, name: &Name) -> Result<()> {
        let folder = self.folder.join(name.as_str());
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        match lock(&folder, exclusive).map_err(Error::io("lock", &folder))? {
            Some(_lock) => remove(&folder).map_err(Error::io("remove", &folder)),
            None if folder.exists() => Err(Error::SnapshotBusy(folder)),
            None => Err(Error::NoSnapshot(name.clone())),
        }
    }

    /// A name that no snapshot has: the machine's, with a number.
    pub(super) fn unused(&self, machine: &Name) -> Result<Name> {
        let taken = self.names()?;
        let stem: String = machine.as_str().chars().take(crate::MAX_NAME_LEN - 6).collect();
        (1..100_000)
            .filter_map(|number| format!("{stem}-{number}").parse().ok())
            .find(|name| !taken.contains(name))
            .ok_or_else(|| Error::system("find a name for the snapshot")(io::ErrorKind::AlreadyExists.into()))
    }

    fn names(&self) -> Result<Vec<Name>> {
        let entries = fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))?;
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect())
    }

    /// Removes what was left by makers that were killed.
    fn sweep(&self) -> Result<()> {
        let entries = fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))?;
        for entry in entries.flatten() {
            let fresh = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(FRESH));
            let path = entry.path();
            if fresh && let Ok(Some(_lock)) = lock(&path, FlockOperation::NonBlockingLockExclusive) {
                let _ = fs::remove_dir_all(&path);
            }
        }
        Ok(())
    }
}

impl Held {
    fn new(folder: PathBuf, lock: FolderLock) -> Result<Self> {
        Ok(Self {
            description: Description::load(&folder)?,
            folder,
            _keeps: Keeps::Lock { _lock: lock },
        })
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.folder.join("memory")
    }

    pub(crate) fn info(&self) -> SnapshotInfo {
        info(&self.folder, self.description.clone())
    }

    /// Refuses files that are not what was kept.
    pub(super) fn verify(&self) -> Result<()> {
        for (name, kept) in &self.description.files {
            let path = self.folder.join(name);
            let damaged = |reason: String| Error::SnapshotDamaged {
                name: self.description.name.clone(),
                reason,
            };
            let size = path
                .metadata()
                .map_err(|error| damaged(format!("{name}: {error}")))?
                .len();
            if size != kept.size {
                return Err(damaged(format!("{name} has {size} bytes and had {}", kept.size)));
            }
            let checksum = checksum::of(&path).map_err(Error::io("read", &path))?;
            if checksum != kept.checksum {
                return Err(damaged(format!("{name} is not what was kept")));
            }
        }
        Ok(())
    }
}

impl Fresh {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything is in it: it gets its name, and is on the disk.
    pub(super) fn finish(self, description: &Description) -> Result<SnapshotInfo> {
        let failed = || Error::io("finish", &self.folder);
        description.save(&self.folder)?;
        for entry in fs::read_dir(&self.folder).map_err(failed())? {
            let synced = entry.and_then(|entry| File::open(entry.path())?.sync_all());
            synced.map_err(failed())?;
        }
        let sync = |folder: &Path| File::open(folder).and_then(|folder| folder.sync_all());
        sync(&self.folder).map_err(failed())?;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, &self.folder, cwd, &self.name, flags) {
            Err(rustix::io::Errno::EXIST) => return Err(Error::SnapshotExists(description.name.clone())),
            renamed => renamed.map_err(|error| failed()(error.into()))?,
        }
        sync(self.name.parent().unwrap_or(Path::new("/"))).map_err(failed())?;
        Ok(info(&self.name, description.clone()))
    }

    /// The files in it, by name.
    pub(super) fn files(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names
            .collect::<io::Result<_>>()
            .map_err(Error::io("list", &self.folder))
    }

    /// As it is, to be loaded at once and gone afterwards.
    pub(super) fn held(self, description: Description) -> Held {
        Held {
            folder: self.folder.clone(),
            description,
            _keeps: Keeps::Fresh(self),
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Once it is finished there is nothing of this name.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Its description first, without which it is none.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir_all(folder)
}

fn info(folder: &Path, description: Description) -> SnapshotInfo {
    let record = description.record;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let blocks = entries.filter_map(|entry| Some(entry.metadata().ok()?.blocks()));
    SnapshotInfo {
        name: description.name,
        machine: record.name,
        created: description.created,
        vmm: record.vmm,
        vmm_version: description.vmm_version,
        kernel: record.kernel,
        image: record.image,
        cpus: record.spec.cpus,
        memory_mib: record.spec.memory_mib,
        paused_ms: description.paused_ms,
        size: blocks.sum::<u64>().saturating_mul(512),
    }
}
