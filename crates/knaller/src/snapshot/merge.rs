//! Making a snapshot whole that is a difference.
//!
//! The invariant: under its name there is the difference or the whole, at any moment: the whole is made beside it, and
//! takes its place by one exchange of names (renameat2(2), `RENAME_EXCHANGE`). What a killed merge leaves is a folder
//! like that of a killed snapshot, and goes as that does. The two are the same snapshot: what builds on it builds on
//! either.

use std::fs;

use images::Task;

use super::description::Description;
use super::store::{Fresh, Held, SnapshotInfo, Snapshots};
use crate::{Error, Name, Paths, Result};

/// Makes a snapshot need no other. Nothing happens to one that needs none. Blocks.
pub(crate) fn merge(paths: &Paths, name: &Name, task: &Task) -> Result<SnapshotInfo> {
    let snapshots = Snapshots::open(paths)?;
    let held = snapshots.alone(name)?;
    if held.description.parent.is_none() {
        return Ok(held.info());
    }
    let held = snapshots.with_parents(held)?;
    let fresh = snapshots.beside(name)?;
    let description = held.flatten(&fresh, task)?;
    fresh.replace(held, &description)
}

impl Held {
    /// Makes a whole one of it in a folder of its own: what that is.
    pub(super) fn flatten(&self, fresh: &Fresh, task: &Task) -> Result<Description> {
        self.ready(task)?;
        for part in self.parts() {
            let (own, to) = (self.folder().join(&part), fresh.folder().join(&part));
            // Nothing ever writes to a snapshot's file, so that two can have one.
            if own.exists() {
                fs::hard_link(&own, &to).map_err(Error::io("link", &own))?;
                continue;
            }
            let layers = self.layers(&part)?.ok_or_else(|| Error::SnapshotDamaged {
                name: self.description.name.clone(),
                reason: format!("what it builds on has no {part}"),
            })?;
            layers.write_to(&to, task)?;
        }
        let mut description = self.description.clone();
        description.parent = None;
        description.files.clear();
        description.measure(fresh.folder(), fresh.files()?)?;
        Ok(description)
    }
}

#[cfg(test)]
mod tests;
