//! Folders that come and go whole: machines, templates, snapshots.
//!
//! The invariant: a folder appears under its name with everything in it, by one rename, and goes the same way; who makes,
//! changes or removes it holds a flock(2) on that very folder, which the kernel gives back when the process dies. So there
//! is no lock file to leave behind, and what a killed process left is known by its name and by nobody holding it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};

use crate::flocked::Flocked;
use crate::{Error, Name, Result};

/// How names of folders that are not whole yet, or no longer, begin: no name that a person gives does.
const FRESH: &str = ".new-";
const GONE: &str = ".old-";

/// A folder that is locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Locked {
    path: PathBuf,
    _lock: Flocked,
}

/// Removes a file that may not be there.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

impl Locked {
    /// For one who changes or removes it. `None` if another holds it, or it was renamed before the lock was ours.
    pub(crate) fn alone(path: &Path) -> io::Result<Option<Self>> {
        Self::open(path, Flocked::try_alone)
    }

    /// For one who reads it. `None` as with [`Self::alone`].
    pub(crate) fn shared(path: &Path) -> io::Result<Option<Self>> {
        Self::open(path, Flocked::try_shared)
    }

    fn open(path: &Path, lock: fn(File) -> io::Result<Option<Flocked>>) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let Some(lock) = lock(folder)? else {
            return Ok(None);
        };
        let (ours, named) = (lock.file().metadata()?, fs::symlink_metadata(path)?);
        let same = (ours.dev(), ours.ino()) == (named.dev(), named.ino());
        Ok(same.then(|| Self {
            path: path.to_owned(),
            _lock: lock,
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder, which is held [alone](Self::alone): first its name, at once, then its files.
    pub(crate) fn remove(self) -> io::Result<()> {
        let gone = beside(&self.path, &format!("{GONE}{}", uuid::Uuid::new_v4()));
        fs::rename(&self.path, &gone)?;
        fs::remove_dir_all(gone)
    }
}

/// A folder in the making, removed unless it is published.
#[derive(Debug)]
pub(crate) struct Fresh {
    /// `None` once it is published.
    locked: Option<Locked>,
    path: PathBuf,
}

impl Fresh {
    /// An empty folder, from which what a killed maker left is gone. `None` if another is making one of this name.
    pub(crate) fn make(parent: &Path, name: &str) -> io::Result<Option<Self>> {
        let path = parent.join(format!("{FRESH}{name}"));
        loop {
            let made = fs::DirBuilder::new().mode(0o700).create(&path);
            let locked = match made {
                // One who takes it for a folder that was left has it no longer than it takes to remove it.
                Ok(()) => Locked::open(&path, |file| Flocked::alone(file).map(Some)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match Locked::alone(&path) {
                    Ok(Some(left)) => left.remove().map(|()| None),
                    Ok(None) => return Ok(None),
                    Err(error) => Err(error),
                },
                Err(error) => return Err(error),
            };
            match locked {
                Ok(Some(locked)) => {
                    let locked = Some(locked);
                    return Ok(Some(Self { locked, path }));
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name. It stays locked. `None` if the name is taken: then it goes.
    pub(crate) fn publish(mut self, name: &Path) -> io::Result<Option<Locked>> {
        match fs::rename(&self.path, name) {
            Ok(()) => Ok(self.locked.take().map(|mut locked| {
                name.clone_into(&mut locked.path);
                locked
            })),
            // A folder replaces an empty one only (rename(2)), and none of ours is empty.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the place of a folder that is held [alone](Locked::alone), at once; that goes. It stays locked.
    pub(crate) fn replace(mut self, old: &Locked) -> io::Result<Locked> {
        renameat_with(CWD, &self.path, CWD, &old.path, RenameFlags::EXCHANGE)?;
        let Some(mut locked) = self.locked.take() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        locked.path.clone_from(&old.path);
        // What is left of it, the next one who makes or sweeps takes for a killed maker's.
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a part of an old folder is left");
        }
        Ok(locked)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.locked.is_some() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what killed processes left in a folder of folders: how many there were.
pub(crate) fn sweep(parent: &Path) -> usize {
    let mut gone = 0;
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_some_and(|name| name.starts_with(FRESH) || name.starts_with(GONE));
        let path = entry.path();
        // One that is locked is being worked on.
        if ours && let Ok(Some(left)) = Locked::alone(&path) {
            tracing::debug!(path = %path.display(), "removing what a killed process left");
            gone += usize::from(left.remove().is_ok());
        }
    }
    gone
}

/// Whether there is a folder of this path itself: no link to one, which could not be locked.
pub(crate) fn is_one(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// The folders in `parent` that have a name as people give them, sorted.
pub(crate) fn names(parent: &Path) -> Result<Vec<Name>> {
    let entries = fs::read_dir(parent).map_err(Error::io("list", parent))?;
    let entries: Vec<_> = entries
        .collect::<io::Result<_>>()
        .map_err(Error::io("list", parent))?;
    let mut names: Vec<Name> = entries
        .into_iter()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// What else there is in `parent`: files, links, folders of another name. Sorted.
pub(crate) fn strays(parent: &Path) -> Vec<PathBuf> {
    let is_ours =
        |name: &str| name.starts_with(FRESH) || name.starts_with(GONE) || name.parse::<Name>().is_ok();
    let mut strays: Vec<_> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| !(entry.file_name().to_str().is_some_and(is_ours) && is_one(&entry.path())))
        .map(|entry| entry.path())
        .collect();
    strays.sort();
    strays
}

/// What the files in a folder take of the disk, in bytes.
pub(crate) fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let blocks = entries.filter_map(|entry| Some(entry.metadata().ok()?.blocks()));
    // Of 512 bytes, whatever the file system's are (stat(2)).
    blocks.sum::<u64>().saturating_mul(512)
}

fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_a_folder_and_keep_others_out() {
        let temp = tempfile::tempdir().unwrap();
        let one = Locked::shared(temp.path()).unwrap().unwrap();
        let other = Locked::shared(temp.path()).unwrap().unwrap();
        drop(one);
        assert!(Locked::alone(temp.path()).unwrap().is_none());
        drop(other);
        Locked::alone(temp.path()).unwrap().unwrap().remove().unwrap();
        let gone = Locked::alone(temp.path()).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        fs::create_dir(temp.path()).unwrap();
    }

    #[test]
    fn a_folder_appears_whole_or_goes() {
        let temp = tempfile::tempdir().unwrap();
        let name = temp.path().join("web");
        let fresh = Fresh::make(temp.path(), "web").unwrap().unwrap();
        assert!(
            Fresh::make(temp.path(), "web").unwrap().is_none(),
            "one makes it at a time"
        );
        fs::write(fresh.path().join("file"), "whole").unwrap();
        let locked = fresh.publish(&name).unwrap().unwrap();
        assert_eq!(locked.path(), name);
        assert!(Locked::alone(&name).unwrap().is_none(), "it stays locked");
        let late = Fresh::make(temp.path(), "web").unwrap().unwrap();
        fs::write(late.path().join("file"), "late").unwrap();
        assert!(late.publish(&name).unwrap().is_none());
        assert_eq!(fs::read(name.join("file")).unwrap(), b"whole");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_takes_the_place_of_another() {
        let temp = tempfile::tempdir().unwrap();
        let name = temp.path().join("web");
        fs::create_dir(&name).unwrap();
        fs::write(name.join("file"), "old").unwrap();
        let old = Locked::alone(&name).unwrap().unwrap();
        let fresh = Fresh::make(temp.path(), "web").unwrap().unwrap();
        fs::write(fresh.path().join("file"), "new").unwrap();
        let new = fresh.replace(&old).unwrap();
        assert_eq!(new.path(), name);
        assert!(Locked::alone(&name).unwrap().is_none(), "it stays locked");
        assert_eq!(fs::read(name.join("file")).unwrap(), b"new");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_maker_left_is_not_in_the_next_ones() {
        let temp = tempfile::tempdir().unwrap();
        let left = temp.path().join(".new-web");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("half"), "").unwrap();
        let fresh = Fresh::make(temp.path(), "web").unwrap().unwrap();
        assert_eq!(fs::read_dir(fresh.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_sweep_takes_only_what_nobody_works_on() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        for name in [".new-left", ".old-left", ".new-busy", "web"] {
            fs::create_dir(path(name)).unwrap();
        }
        let held = Locked::alone(&path(".new-busy")).unwrap().unwrap();
        assert_eq!(sweep(temp.path()), 2);
        assert!(!path(".new-left").exists() && !path(".old-left").exists());
        assert!(path(".new-busy").exists() && path("web").exists());
        drop(held);
    }
}
