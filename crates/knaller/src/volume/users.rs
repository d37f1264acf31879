//! Who has which disk.

use std::path::Path;

use images::raw_disk::Identity;

use crate::claim::Claim;
use crate::knaller::Inner;
use crate::layout::Files;
use crate::record::Record;
use crate::{Error, Name, Result, damage, heal, list};

/// The machines that have the disk `path` in their spec.
pub(super) fn of(inner: &Inner, path: &Path) -> Result<Vec<String>> {
    let with = all(inner)?
        .into_iter()
        .filter(|(_, record)| find(inner, record, path).is_some());
    Ok(with.map(|(_, record)| record.name.to_string()).collect())
}

/// The machines that run, or are being started, and write to the disk `path`; or only read it, if it is to be written to.
pub(super) fn against(inner: &Inner, own: &Name, path: &Path, read_only: bool) -> Result<Vec<String>> {
    let others = all(inner)?
        .into_iter()
        .filter(|(_, record)| record.name != *own)
        .filter(|(files, record)| {
            let there = find(inner, record, path);
            there.is_some_and(|reads| !(reads && read_only)) && runs(files)
        })
        .map(|(_, record)| record.name.to_string());
    Ok(others.collect())
}

/// Refuses where a damaged machine may have the disk `path`, which only one that runs can be writing to.
pub(super) fn certain(inner: &Inner, path: &Path, only_running: bool) -> Result<()> {
    let damaged: Vec<_> = damage::machines(inner)?
        .into_iter()
        .filter(|machine| machine.running || !only_running)
        .map(|machine| machine.name.to_string())
        .collect();
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Error::VolumeUncertain {
        volume: super::name_of(path).map_or_else(|| path.display().to_string(), |name| name.to_string()),
        damaged,
    })
}

fn runs(files: &Files) -> bool {
    heal::lives(files).unwrap_or(true) || matches!(Claim::take_now(files), Ok(None))
}

/// All machines, but for one that is gone by now, or whose record is damaged: see [`certain`].
fn all(inner: &Inner) -> Result<Vec<(Files, Record)>> {
    let mut all = Vec::new();
    for name in heal::names(&inner.options.paths)? {
        match list::load(inner, &name) {
            Err(error) if damage::is_of_the_file(&error) => {}
            loaded => all.push(loaded?),
        }
    }
    Ok(all)
}

/// Whether a machine that has this disk, by whatever path, only reads it; `None` if it does not have it.
fn find(inner: &Inner, record: &Record, path: &Path) -> Option<bool> {
    let wanted = Identity::of(path);
    // The path tells as well, should nothing be known of what is there.
    let is_it = |other: &Path| {
        let same = |identity| wanted.contains(identity);
        other == path || Identity::of(other).iter().any(same)
    };
    let volumes = record.spec.volumes.iter();
    let mut disks = volumes.map(|volume| {
        (
            super::path(&inner.options.paths, &volume.source),
            volume.read_only,
        )
    });
    let raw = super::raw_root(&record.spec).filter(|(path, _)| is_it(path));
    raw.map(|(_, read_only)| read_only)
        .or_else(|| disks.find_map(|(path, read_only)| is_it(&path).then_some(read_only)))
}
