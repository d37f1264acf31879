//! Who has which disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::claim::Claim;
use crate::knaller::Inner;
use crate::layout::Files;
use crate::record::Record;
use crate::{Error, Name, Result, Volume, heal, list};

/// The machines that have the disk `path` in their spec.
pub(super) fn of(inner: &Inner, path: &Path) -> Vec<String> {
    let with = all(inner)
        .into_iter()
        .filter(|(_, record)| find(inner, record, path).is_some());
    with.map(|(_, record)| record.name.to_string()).collect()
}

/// Refuses a disk that a machine which runs, or is being started, writes to; or only reads, if it is to be written to.
pub(crate) fn check(inner: &Inner, own: &Name, wanted: &Volume, path: &Path) -> Result<()> {
    let users: Vec<String> = all(inner)
        .into_iter()
        .filter(|(_, record)| record.name != *own)
        .filter(|(files, record)| {
            let there = find(inner, record, path);
            there.is_some_and(|there| !(there.read_only && wanted.read_only)) && runs(files)
        })
        .map(|(_, record)| record.name.to_string())
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    Err(Error::VolumeInUse {
        volume: wanted.to_string(),
        users,
    })
}

fn runs(files: &Files) -> bool {
    heal::lives(files) || matches!(Claim::take_now(files), Ok(None))
}

fn all(inner: &Inner) -> Vec<(Files, Record)> {
    let names = heal::names(&inner.options.paths).unwrap_or_default();
    names
        .iter()
        .filter_map(|name| list::load(inner, name).ok())
        .collect()
}

/// The volume of a machine that is this disk, by whatever path.
fn find<'a>(inner: &Inner, record: &'a Record, path: &Path) -> Option<&'a Volume> {
    let identity = |path: &Path| {
        path.metadata()
            .ok()
            .map(|metadata| (metadata.dev(), metadata.ino()))
    };
    let wanted = identity(path)?;
    let mut volumes = record.spec.volumes.iter();
    volumes.find(|volume| identity(&super::path(&inner.options.paths, &volume.source)) == Some(wanted))
}
