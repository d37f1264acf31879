//! The right to change a machine. The invariant: a machine's folder is made, removed or given a new boot only by the one
//! process that holds an exclusive flock(2) on that very folder; the kernel gives the right back when the process dies.
//!
//! The folder appears under its name locked and with its record inside, by one rename, and goes the same way (see
//! [`crate::folder`]): nobody ever sees half a machine.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::folder::{Fresh, Locked};
use crate::layout::Files;
use crate::record::Record;
use crate::{Error, Name, Result};

/// How long a claim is waited for: others hold one this short unless they start the machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// Held while a machine is made, started anew, healed or removed.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: Locked,
    files: Files,
}

impl Claim {
    /// Makes the machine's folder with `record` and the mark of a first start in it, or says that the name is taken.
    pub(crate) fn create(files: Files, record: &Record) -> Result<Option<Self>> {
        let failed = || Error::io("make the folder", &files.data);
        let parent = files.data.parent().unwrap_or(Path::new("/"));
        let fresh = Fresh::make(parent, &record.instance).map_err(failed())?;
        let fresh = fresh.ok_or_else(|| Error::Busy(record.name.clone()))?;
        record.save(&fresh.path().join("vm.json"))?;
        File::create(fresh.path().join("creating")).map_err(Error::io("write", fresh.path()))?;
        let folder = fresh.publish(&files.data).map_err(failed())?;
        Ok(folder.map(|folder| Self { folder, files }))
    }

    /// Claims a machine that exists, unless somebody else has it.
    pub(crate) fn take_now(files: &Files) -> io::Result<Option<Self>> {
        Ok(Locked::alone(&files.data)?.map(|folder| Self {
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

    pub(crate) fn remove(self) -> Result<()> {
        self.folder
            .remove()
            .map_err(Error::io("remove", &self.files.data))
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
}
