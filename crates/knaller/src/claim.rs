//! The right to change a machine. The invariant: a machine's folder is made, removed or given a new boot only by the one
//! process that holds an exclusive flock(2) on that very folder; the kernel gives the right back when the process dies.
//!
//! The folder itself is locked, so there is no lock file to leave behind. It appears under its name locked and with its
//! record inside, by one rename, and goes the same way: nobody ever sees half a machine.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::layout::Files;
use crate::record::Record;
use crate::{Error, Name, Result};

/// How names of folders that are not machines yet, or no longer, begin: no machine's name does.
const FRESH: &str = ".new-";
const GONE: &str = ".old-";

/// How long a claim is waited for: others hold one this short unless they start the machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// Held while a machine is made, started anew, healed or removed.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Locked until this is dropped.
    folder: File,
    files: Files,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Closing alone is not enough: a child that was forked meanwhile has the same lock until it becomes its program.
        let _ = self.folder.unlock();
    }
}

impl Claim {
    /// Makes the machine's folder with `record` and the mark of a first start in it, or says that the name is taken.
    pub(crate) fn create(files: Files, record: &Record) -> Result<Option<Self>> {
        let parent = files.data.parent().unwrap_or(Path::new("/"));
        let fresh = parent.join(format!("{FRESH}{}", record.instance));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&fresh)
            .map_err(Error::io("make the folder", &fresh))?;
        let undo = RemoveOnDrop(&fresh);
        let folder = lock(&fresh)
            .map_err(Error::io("lock", &fresh))?
            .ok_or_else(|| Error::Busy(record.name.clone()))?;
        record.save(&fresh.join("vm.json"))?;
        File::create(fresh.join("creating")).map_err(Error::io("write", &fresh))?;
        match std::fs::rename(&fresh, &files.data) {
            Ok(()) => {
                std::mem::forget(undo);
                Ok(Some(Self { folder, files }))
            }
            // A folder replaces an empty one only (rename(2)), and no machine's is empty.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::io("make the folder", &files.data)(error)),
        }
    }

    /// Claims a machine that exists, unless somebody else has it.
    pub(crate) fn take_now(files: &Files) -> io::Result<Option<Self>> {
        Ok(lock(&files.data)?.map(|folder| Self {
            folder,
            files: files.clone(),
        }))
    }

    /// As [`Self::take_now`], with some patience.
    pub(crate) async fn take(files: &Files, name: &Name) -> Result<Self> {
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(2);
        loop {
            match Self::take_now(files) {
                Ok(Some(claim)) => return Ok(claim),
                Ok(None) if tokio::time::Instant::now() > until => return Err(Error::Busy(name.clone())),
                Ok(None) => tokio::time::sleep(pause).await,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(Error::NotFound(name.to_string()));
                }
                Err(error) => return Err(Error::io("lock", &files.data)(error)),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Whether the machine's first start has not succeeded yet.
    pub(crate) fn is_creating(&self) -> bool {
        self.files.creating().exists()
    }

    /// Removes the machine: first its name, at once, then its files.
    pub(crate) fn remove(self) -> Result<()> {
        let parent = self.files.data.parent().unwrap_or(Path::new("/"));
        let gone = parent.join(format!("{GONE}{}", uuid::Uuid::new_v4()));
        let failed = Error::io("remove", &self.files.data);
        std::fs::rename(&self.files.data, &gone)
            .and_then(|()| std::fs::remove_dir_all(&gone))
            .map_err(failed)
    }
}

/// Removes folders that a process left that was killed between the two steps of [`Claim::create`] or [`Claim::remove`].
pub(crate) fn sweep(vms: &Path) {
    for entry in std::fs::read_dir(vms).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_some_and(|name| name.starts_with(FRESH) || name.starts_with(GONE));
        let path: PathBuf = entry.path();
        // One that is locked is being worked on.
        if ours && let Ok(Some(_lock)) = lock(&path) {
            tracing::debug!(path = %path.display(), "removing what a killed process left");
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

/// Opens and locks a folder; `None` if another has the lock, or has renamed the folder before we got it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let folder = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    let (ours, named) = (folder.metadata()?, std::fs::symlink_metadata(path)?);
    Ok(((ours.dev(), ours.ino()) == (named.dev(), named.ino())).then_some(folder))
}

struct RemoveOnDrop<'a>(&'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MachineSpec, Paths, layout};

    struct Place {
        _temp: tempfile::TempDir,
        paths: Paths,
    }

    fn place() -> Place {
        let temp = tempfile::tempdir().unwrap();
        let paths = Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        };
        layout::prepare(&paths).unwrap();
        Place { _temp: temp, paths }
    }

    fn create(place: &Place, name: &str) -> Option<Claim> {
        let name: Name = name.parse().unwrap();
        let files = layout::files(&place.paths, &name);
        let record = Record::new(name, files.runtime.clone(), MachineSpec::new());
        Claim::create(files, &record).unwrap()
    }

    #[test]
    fn a_claim_given_back_is_free_whoever_shares_it() {
        let place = place();
        let claim = create(&place, "web").unwrap();
        let files = claim.files().clone();
        // As a child has it between fork(2) and execve(2).
        let shared = claim.folder.try_clone().unwrap();
        assert!(Claim::take_now(&files).unwrap().is_none());
        drop(claim);
        assert!(Claim::take_now(&files).unwrap().is_some());
        drop(shared);
    }

    #[test]
    fn of_many_at_once_one_gets_the_name() {
        let place = place();
        let winners: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| create(&place, "web"))).collect();
            let claims: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
            claims.iter().flatten().count()
        });
        assert_eq!(winners, 1);
        assert_eq!(std::fs::read_dir(layout::vms(&place.paths)).unwrap().count(), 1);
    }

    #[test]
    fn a_claim_excludes_others_until_it_is_dropped() {
        let place = place();
        let claim = create(&place, "web").unwrap();
        let files = claim.files().clone();
        assert!(claim.is_creating());
        assert!(Claim::take_now(&files).unwrap().is_none());
        drop(claim);
        let claim = Claim::take_now(&files).unwrap().unwrap();
        claim.remove().unwrap();
        assert_eq!(
            Claim::take_now(&files).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(std::fs::read_dir(layout::vms(&place.paths)).unwrap().count(), 0);
    }

    #[test]
    fn a_sweep_takes_only_what_nobody_works_on() {
        let place = place();
        let vms = layout::vms(&place.paths);
        let left = vms.join(".new-left");
        let busy = vms.join(".new-busy");
        for folder in [&left, &busy, &vms.join("web")] {
            std::fs::create_dir(folder).unwrap();
        }
        let held = lock(&busy).unwrap().unwrap();
        sweep(&vms);
        assert!(!left.exists() && busy.exists() && vms.join("web").exists());
        drop(held);
    }
}
