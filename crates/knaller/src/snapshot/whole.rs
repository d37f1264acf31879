//! The memory of a snapshot that is a difference, put together once for all machines of it, which share its pages.
//!
//! The invariant: nothing depends on it. It is made under a lock and appears whole, its checksum beside it is looked at
//! as those of the snapshot's own files are, and where it is missing or not as it was, it is made anew.
//!
//! ```text
//! NAME/memory       put together: a VMM maps it
//!      memory.sum   its size and checksum
//! ```

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use images::Task;

use super::chain::changes_of;
use super::description::Kept;
use super::store::{Held, Snapshots};
use crate::flocked::Flocked;
use crate::folder;
use crate::handover::MEMORY;
use crate::{Error, Filter, Paths, Result, record};

const SUM: &str = "memory.sum";

/// The most bytes of what stands beside it.
const MAX_SUM: u64 = 4096;

impl Held {
    /// Sees to it that everything is as it was kept, and the memory is there for VMMs to map. Blocks.
    pub(crate) fn ready(&self, task: &Task) -> Result<()> {
        if self.below.is_empty() {
            return self.verify();
        }
        let path = self.folder().join(changes_of(MEMORY));
        let locked = File::open(&path).and_then(Flocked::alone);
        let _locked = locked.map_err(Error::io("lock", &path))?;
        if is_whole(self.folder()) {
            return self.verify_but_memory();
        }
        self.verify()?;
        self.put_together(task)
    }

    fn put_together(&self, task: &Task) -> Result<()> {
        let folder = self.folder();
        discard(folder)?;
        let layers = self.layers(MEMORY)?.ok_or_else(|| Error::SnapshotDamaged {
            name: self.description.name.clone(),
            reason: "what it builds on has no memory".to_owned(),
        })?;
        // One that is not finished goes as an unfinished snapshot does.
        let parent = folder.parent().unwrap_or(Path::new("/"));
        let fresh = folder::Fresh::make(parent, &uuid::Uuid::new_v4().to_string());
        let fresh = fresh.map_err(Error::io("make a folder in", parent))?;
        let fresh = fresh.ok_or_else(|| Error::SnapshotBusy(folder.to_owned()))?;
        let made = fresh.path().join(MEMORY);
        layers.write_to(&made, task)?;
        let sum = serde_json::to_vec(&Kept::of(&made)?);
        let sum = sum.map_err(|error| Error::system("describe a memory")(error.into()))?;
        let path = folder.join(MEMORY);
        fs::rename(&made, &path).map_err(Error::io("rename", &made))?;
        record::write_private(&folder.join(SUM), &sum)
    }
}

/// Whether the memory of a difference is there as it was put together.
fn is_whole(folder: &Path) -> bool {
    let whole = || -> Option<bool> {
        let bytes = images::files::read(&folder.join(SUM), MAX_SUM).ok()?;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        Some(Kept::of(&folder.join(MEMORY)).ok()? == kept)
    };
    whole().unwrap_or(false)
}

/// Takes it away. Machines that have it mapped keep it.
fn discard(folder: &Path) -> Result<()> {
    for name in [SUM, MEMORY] {
        folder::remove_file(&folder.join(name))?;
    }
    Ok(())
}

/// What it takes of the disk, in bytes.
pub(super) fn size(folder: &Path) -> u64 {
    let files = [MEMORY, SUM].into_iter();
    let blocks = files.filter_map(|name| Some(folder.join(name).metadata().ok()?.blocks()));
    // Of 512 bytes (stat(2)).
    blocks.sum::<u64>().saturating_mul(512)
}

/// Takes away what was put together of snapshots of which no machine is being made: of how many, and how many bytes.
pub(crate) fn prune(paths: &Paths, filters: &[Filter]) -> Result<(usize, u64)> {
    let snapshots = Snapshots::open(paths)?;
    let (mut count, mut bytes) = (0, 0);
    for info in snapshots.list()? {
        if info.cached == 0 || !Filter::all_match(filters, &info) {
            continue;
        }
        match snapshots.alone(&info.name) {
            Ok(held) if held.description.parent.is_some() => discard(held.folder())?,
            Ok(_) | Err(Error::SnapshotBusy(_) | Error::NoSnapshot(_)) => continue,
            Err(error) => return Err(error),
        }
        count += 1;
        bytes += info.cached;
    }
    Ok((count, bytes))
}
