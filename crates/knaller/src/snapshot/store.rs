//! The snapshots of a data folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::description::Description;
use super::whole;
use crate::folder::{self, Locked};
use crate::handover::Guest;
use crate::{Damaged, Error, Name, Origin, Paths, Result, damage};

/// The snapshots of one data folder.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    folder: PathBuf,
}

/// A snapshot that nobody removes for as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    folder: Keeps,
    pub(crate) description: Description,
    /// What it builds on, the nearest first; none if it is whole, or was taken without (see [`Snapshots::chain`]).
    pub(super) below: Vec<Self>,
}

/// What keeps a held snapshot where it is.
#[derive(Debug)]
enum Keeps {
    Lock(Locked),
    /// It goes with this.
    Fresh(Fresh),
    /// Its files are their owner's, and so are its disks.
    Owner(Guest),
}

/// A snapshot in the making, removed unless it is finished.
#[derive(Debug)]
pub(super) struct Fresh {
    folder: folder::Fresh,
    name: PathBuf,
}

/// A snapshot, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SnapshotInfo {
    pub name: Name,
    /// Of which machine it was taken.
    pub machine: Name,
    /// Seconds since the Unix epoch; as JSON RFC 3339.
    #[serde(with = "crate::unix_time")]
    pub created: u64,
    pub vmm: String,
    pub vmm_version: String,
    /// The kernel bundle's id.
    pub kernel: String,
    /// The base image's id, where the machine had an overlay over one.
    pub image: Option<String>,
    /// The machine's.
    pub labels: BTreeMap<String, String>,
    pub cpus: u8,
    pub memory_mib: u32,
    /// How long the machine stood still for it, in milliseconds.
    pub paused_ms: u64,
    /// Whether the guest's kernel notices by itself that it goes on as another machine, by the VM Generation ID: then it draws
    /// other random bytes from its first instruction on. Without it powerunit seeds it anew before any program runs on.
    pub generation_id: bool,
    /// The snapshot that it builds on, if it is a difference to one.
    pub parent: Option<Name>,
    /// What its files take of the disk, in bytes; what they share with others by reflinks counts as well.
    pub size: u64,
    /// What its memory takes beside that, put together for its machines: a prune takes it away where none is being made.
    pub cached: u64,
}

impl Snapshots {
    /// Makes the folder if need be.
    pub(crate) fn open(paths: &Paths) -> Result<Self> {
        let folder = paths.data.join("snapshots");
        images::files::private_folder(&folder).map_err(|error| Error::Folder {
            path: folder.clone(),
            reason: error.to_string(),
        })?;
        folder::sweep(&folder);
        Ok(Self { folder })
    }

    /// A place for a new snapshot of this name.
    pub(super) fn fresh(&self, name: &Name) -> Result<Fresh> {
        self.vacant(name)?;
        self.place(self.folder.join(name.as_str()))
    }

    /// Refuses a name that a snapshot has.
    pub(super) fn vacant(&self, name: &Name) -> Result<()> {
        match self.folder.join(name.as_str()).exists() {
            true => Err(Error::SnapshotExists(name.clone())),
            false => Ok(()),
        }
    }

    /// A place for what is to take the place of the one of this name.
    pub(super) fn beside(&self, name: &Name) -> Result<Fresh> {
        self.place(self.folder.join(name.as_str()))
    }

    /// A place for a snapshot that is never to have a name.
    pub(super) fn nameless(&self) -> Result<Fresh> {
        self.place(self.folder.join(uuid::Uuid::new_v4().to_string()))
    }

    /// Gives a place without a name one.
    pub(super) fn named(&self, fresh: Fresh, name: &Name) -> Result<Fresh> {
        self.vacant(name)?;
        let name = self.folder.join(name.as_str());
        Ok(Fresh { name, ..fresh })
    }

    fn place(&self, name: PathBuf) -> Result<Fresh> {
        let last = name.file_name().unwrap_or_default().to_string_lossy();
        let made = folder::Fresh::make(&self.folder, &last);
        let folder = made.map_err(Error::io("make a folder in", &self.folder))?;
        let folder = folder.ok_or_else(|| Error::SnapshotBusy(name.clone()))?;
        Ok(Fresh { folder, name })
    }

    /// It alone, without what it builds on.
    pub(crate) fn get(&self, name: &Name) -> Result<Held> {
        Held::load(self.locked(name, Locked::shared)?)
    }

    /// As [`Self::get`], for one who puts another in its place.
    pub(super) fn alone(&self, name: &Name) -> Result<Held> {
        Held::load(self.locked(name, Locked::alone)?)
    }

    fn locked(&self, name: &Name, lock: fn(&Path) -> io::Result<Option<Locked>>) -> Result<Locked> {
        let folder = self.folder.join(name.as_str());
        match lock(&folder) {
            Ok(Some(locked)) => Ok(locked),
            Ok(None) => Err(Error::SnapshotBusy(folder)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoSnapshot(name.clone())),
            Err(error) => Err(Error::io("lock", &folder)(error)),
        }
    }

    /// All there are but those that are [damaged](Self::damaged), by name.
    pub(crate) fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let mut all = Vec::new();
        for name in folder::names(&self.folder)? {
            let folder = self.folder.join(name.as_str());
            match Description::load(&folder) {
                Ok(description) => all.push(info(&folder, description)),
                Err(error) if damage::is_of_the_file(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Those whose descriptions cannot be read, by name.
    pub(crate) fn damaged(&self) -> Result<Vec<Damaged>> {
        let names = folder::names(&self.folder)?.into_iter();
        Ok(names
            .filter_map(|name| {
                let folder = self.folder.join(name.as_str());
                let error = Description::load(&folder).err().filter(damage::is_of_the_file)?;
                // One that is gone by now is not damaged.
                folder::is_one(&folder).then(|| Damaged::new(name, &error))
            })
            .collect())
    }

    /// Those that need an image. One that is damaged is of no use to anybody, and needs none.
    pub(crate) fn of_image(&self, image: &str) -> Result<Vec<Name>> {
        let all = self.readable()?.into_iter();
        let of = all.filter(|(_, description)| description.record.image.as_deref() == Some(image));
        Ok(of.map(|(name, _)| name).collect())
    }

    /// Those whose guests have this volume, of which they keep no copy since they only read it. As for [`Self::of_image`],
    /// those that are damaged do not count.
    pub(crate) fn of_volume(&self, volume: &Name) -> Result<Vec<Name>> {
        let all = self.readable()?.into_iter();
        let of = all.filter(|(_, description)| {
            description
                .record
                .spec
                .shared_volumes()
                .any(|name| name == volume)
        });
        Ok(of.map(|(name, _)| name).collect())
    }

    /// Removes one that none builds on, or it and all that do: which.
    pub(crate) fn remove(&self, name: &Name, recursive: bool) -> Result<Vec<Name>> {
        // Who takes a difference to it has it locked until that has its name.
        let locked = self.locked(name, Locked::alone)?;
        let children = match Description::load(locked.path()) {
            Ok(description) => self.children(name, &description.id)?,
            // Nothing can be loaded that builds on it; those that say so are not left behind unseen.
            Err(error) if damage::is_of_the_file(&error) => {
                let infos = self.list()?.into_iter();
                let children = infos.filter(|info| info.parent.as_ref() == Some(name));
                children.map(|child| child.name).collect()
            }
            Err(error) => return Err(error),
        };
        if !recursive && !children.is_empty() {
            let name = name.clone();
            return Err(Error::SnapshotNeeded { name, children });
        }
        let mut removed = Vec::new();
        for child in children {
            removed.extend(self.remove(&child, true)?);
        }
        let folder = locked.path().to_owned();
        locked.remove().map_err(Error::io("remove", &folder))?;
        removed.push(name.clone());
        Ok(removed)
    }

    /// Those that build on the one of this name and id.
    fn children(&self, of: &Name, id: &str) -> Result<Vec<Name>> {
        let mut children = Vec::new();
        for (name, child) in self.readable()? {
            let parent = child.parent;
            if parent.is_some_and(|parent| parent.name == *of && parent.id == id) {
                children.push(name);
            }
        }
        Ok(children)
    }

    /// All but those that are damaged, or gone meanwhile, by name. Whoever cannot read one for another reason does not know
    /// what it needs.
    fn readable(&self) -> Result<Vec<(Name, Description)>> {
        let mut all = Vec::new();
        for name in folder::names(&self.folder)? {
            match Description::load(&self.folder.join(name.as_str())) {
                Ok(description) => all.push((name, description)),
                Err(error) if is_no_use(&error) => tracing::debug!(%name, %error, "left out"),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// A name that no snapshot has: the machine's, with a number.
    pub(super) fn unused(&self, machine: &Name) -> Result<Name> {
        let stem: String = machine.as_str().chars().take(crate::MAX_NAME_LEN - 6).collect();
        (1..100_000)
            .filter_map(|number| format!("{stem}-{number}").parse().ok())
            .find(|name: &Name| self.folder.join(name.as_str()).symlink_metadata().is_err())
            .ok_or_else(|| Error::system("find a name for the snapshot")(io::ErrorKind::AlreadyExists.into()))
    }
}

impl Held {
    fn load(locked: Locked) -> Result<Self> {
        Ok(Self {
            description: Description::load(locked.path())?,
            folder: Keeps::Lock(locked),
            below: Vec::new(),
        })
    }

    /// One whose files are their owner's.
    pub(super) fn owners(guest: Guest, description: Description) -> Self {
        Self {
            folder: Keeps::Owner(guest),
            description,
            below: Vec::new(),
        }
    }

    /// Whether its files and its disks are their owner's.
    pub(super) fn is_owners(&self) -> bool {
        matches!(self.folder, Keeps::Owner(_))
    }

    /// What a machine that is loaded from it is: one that nobody keeps was taken for a fork.
    pub(crate) fn origin(&self) -> Origin {
        match self.folder {
            Keeps::Fresh(_) => Origin::Forked {
                machine: self.description.record.name.clone(),
            },
            Keeps::Lock(_) | Keeps::Owner(_) => Origin::Restored {
                snapshot: self.description.name.clone(),
            },
        }
    }

    /// The folder with all of it; where the files are their owner's, the one with its state.
    pub(crate) fn folder(&self) -> &Path {
        match &self.folder {
            Keeps::Lock(locked) => locked.path(),
            Keeps::Fresh(fresh) => fresh.folder(),
            Keeps::Owner(guest) => guest.state.parent().unwrap_or(Path::new("/")),
        }
    }

    fn guest(&self) -> Guest {
        match &self.folder {
            Keeps::Lock(locked) => Guest::inside(locked.path()),
            Keeps::Fresh(fresh) => Guest::inside(fresh.folder()),
            Keeps::Owner(guest) => guest.clone(),
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.guest().state
    }

    pub(crate) fn memory(&self) -> PathBuf {
        self.guest().memory
    }

    /// Where is noted what starts touch; nowhere in a folder of somebody else's.
    pub(crate) fn working_set(&self) -> Option<PathBuf> {
        (!self.is_owners()).then(|| self.folder().join("working-set"))
    }

    pub(crate) fn info(&self) -> SnapshotInfo {
        info(self.folder(), self.description.clone())
    }

    /// Its lock, if it has a name.
    pub(super) fn into_lock(self) -> Option<Locked> {
        match self.folder {
            Keeps::Lock(locked) => Some(locked),
            Keeps::Fresh(_) | Keeps::Owner(_) => None,
        }
    }

    /// Whether others can build on it: it has a name.
    pub(super) fn is_named(&self) -> bool {
        matches!(self.folder, Keeps::Lock(_))
    }
}

impl Fresh {
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it is going to be.
    pub(super) fn named(&self) -> &Path {
        &self.name
    }

    /// Everything is in it: it gets its name, and is on the disk.
    pub(super) fn finish(self, description: &Description) -> Result<SnapshotInfo> {
        self.settle(description)?;
        let folder = self.folder().to_owned();
        let failed = || Error::io("finish", &folder);
        let taken = || Error::SnapshotExists(description.name.clone());
        let published = self.folder.publish(&self.name).map_err(failed())?;
        let published = published.ok_or_else(taken)?;
        sync(self.name.parent().unwrap_or(Path::new("/"))).map_err(failed())?;
        Ok(info(published.path(), description.clone()))
    }

    /// Everything is in it: it takes the place of `old`, at once, and is on the disk.
    pub(super) fn replace(self, old: Held, description: &Description) -> Result<SnapshotInfo> {
        self.settle(description)?;
        let folder = self.folder().to_owned();
        let failed = || Error::io("exchange", &folder);
        let nameless = || failed()(io::ErrorKind::InvalidInput.into());
        let old = old.into_lock().ok_or_else(nameless)?;
        let published = self.folder.replace(&old);
        let published = published.map_err(failed())?;
        sync(published.path().parent().unwrap_or(Path::new("/"))).map_err(failed())?;
        Ok(info(published.path(), description.clone()))
    }

    /// Writes what it is beside its files, and all of it to the disk.
    fn settle(&self, description: &Description) -> Result<()> {
        let folder = self.folder();
        let failed = || Error::io("finish", folder);
        description.save(folder)?;
        for entry in fs::read_dir(folder).map_err(failed())? {
            let synced = entry.and_then(|entry| File::open(entry.path())?.sync_all());
            synced.map_err(failed())?;
        }
        sync(folder).map_err(failed())
    }

    /// The files in it, by name.
    pub(super) fn files(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.folder()).map_err(Error::io("list", self.folder()))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names
            .collect::<io::Result<_>>()
            .map_err(Error::io("list", self.folder()))
    }

    /// As it is, to be loaded at once and gone afterwards.
    pub(super) fn held(self, description: Description) -> Held {
        Held {
            folder: Keeps::Fresh(self),
            description,
            below: Vec::new(),
        }
    }
}

/// Whether it says that a snapshot is damaged, or gone.
fn is_no_use(error: &Error) -> bool {
    match error {
        Error::Record { .. } => true,
        Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn info(folder: &Path, description: Description) -> SnapshotInfo {
    let record = description.record;
    let parent = description.parent.map(|parent| parent.name);
    // What was made of a difference for its machines is none of its own.
    let cached = parent.as_ref().map_or(0, |_| whole::size(folder));
    SnapshotInfo {
        name: description.name,
        machine: record.name,
        created: description.created,
        vmm: record.vmm,
        vmm_version: description.vmm_version,
        kernel: record.kernel,
        image: record.image,
        labels: record.spec.labels,
        cpus: record.spec.cpus,
        memory_mib: record.spec.memory_mib,
        paused_ms: description.paused_ms,
        generation_id: description.generation_id,
        parent,
        size: folder::size(folder).saturating_sub(cached),
        cached,
    }
}

#[cfg(test)]
mod tests;
