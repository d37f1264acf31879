//! Giving a machine another name, running or not.
//!
//! The invariant: the folder of its data has the name that counts. It is moved first, in one step; the folder of its
//! sockets and its record follow, and where a kill comes between, the next command lets them follow.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::{io, iter};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::claim::Claim;
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::record::Record;
use crate::{Error, Name, Paths, Result, VolumeSource, damage, heal, list, start, task};

pub(crate) async fn rename(inner: &Arc<Inner>, from: &Name, to: &Name) -> Result<()> {
    // Not this machine alone: the new name may be one whose sockets have not followed their machine yet.
    heal::all(inner).await?;
    let (old, new) = (
        layout::files(&inner.options.paths, from),
        layout::files(&inner.options.paths, to),
    );
    layout::check_length(&new)?;
    let claim = Claim::take(&old, from).await?;
    // What follows needs it: a machine whose record cannot be read keeps its name.
    Record::load(&old.record())?;
    let (paths, data) = (inner.options.paths.clone(), new.data.clone());
    let name = to.clone();
    let moved = task::blocking(move |_| {
        let moved = renameat_with(CWD, &old.data, CWD, &data, RenameFlags::NOREPLACE);
        match moved {
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(Error::io("rename", &old.data)(error.into())),
            Ok(()) => {
                let followed = follow(&paths, &name);
                drop(claim);
                followed.map(|()| true)
            }
        }
    });
    if moved.await? {
        return Ok(());
    }
    let state = list::state(inner, to).await;
    Err(Error::NameTaken {
        name: to.clone(),
        state,
    })
}

/// Lets the record and the sockets of a machine follow the name of its data folder. By whoever has its claim. Blocks.
pub(crate) fn follow(paths: &Paths, name: &Name) -> Result<()> {
    let files = layout::files(paths, name);
    let mut record = Record::load(&files.record())?;
    if record.name == *name {
        return Ok(());
    }
    let runtime = record.runtime.with_file_name(name.as_str());
    move_if_there(&record.runtime, &runtime)?;
    start::know(&files, name)?;
    let vms = layout::vms(paths);
    let own = |path: &Path| own_file(path, &record.name, &vms);
    for spec in iter::once(&mut record.spec).chain(record.boots.as_deref_mut()) {
        spec.name = Some(name.clone());
        for volume in &mut spec.volumes {
            // What was copied for this machine went with its folder; of the old name there may be another machine by now.
            if let VolumeSource::File(path) = &mut volume.source
                && let Some(file) = own(path)
            {
                *path = files.data.join(file);
            }
        }
    }
    record.name = name.clone();
    record.runtime = runtime;
    record.save(&files.record())
}

/// The name of a file that was the machine's own, in its folder under the old name, whichever way the path leads there.
fn own_file(path: &Path, old: &Name, vms: &Path) -> Option<OsString> {
    let folder = path.parent()?;
    let there = folder.file_name()? == old.as_str()
        && folder.parent()?.canonicalize().ok()? == vms.canonicalize().ok()?;
    there.then(|| path.file_name().map(ToOwned::to_owned)).flatten()
}

/// A machine that does not run has no sockets, and those of one that was moved before are where they belong.
fn move_if_there(from: &Path, to: &Path) -> Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.map_err(Error::io("rename", from)),
    }
}

/// Whether a folder of sockets that has a machine's name is not the machine's, but another's that had the name before:
/// that one is being renamed, or its renamer was killed. For whoever has the machine's claim. Blocks.
pub(crate) fn is_anothers(paths: &Paths, name: &Name, runtime: &Path) -> Result<bool> {
    if !runtime.exists() {
        return Ok(false);
    }
    for other in heal::names(paths)?.into_iter().filter(|other| other != name) {
        match Record::load(&layout::files(paths, &other).record()) {
            Ok(record) if record.runtime == runtime => return Ok(true),
            // One that is damaged was not being renamed.
            Ok(_) => {}
            Err(error) if damage::is_of_the_file(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether the machine's record is of another name: it was being renamed when its renamer was killed.
pub(crate) fn is_unfinished(files: &Files, record: &Record) -> bool {
    files
        .data
        .file_name()
        .is_some_and(|name| name != record.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Knaller, MachineSpec, runtime_folder};

    #[tokio::test]
    async fn the_disks_in_its_folder_follow_and_others_do_not() {
        let temp = tempfile::tempdir().unwrap();
        let paths = Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        };
        let knaller = Knaller::with_paths(paths.clone()).unwrap();
        std::os::unix::fs::symlink(&paths.data, temp.path().join("link")).unwrap();
        let old = layout::files(&paths, &"old".parse().unwrap());
        let disks = [
            old.data.join("volume0.ext4"),
            temp.path().join("link/vms/old/volume1.ext4"),
            paths.data.join("volumes/old.ext4"),
            temp.path().join("vms/old/volume0.ext4"),
            paths.data.join("vms/older/volume0.ext4"),
        ];
        let mut spec = MachineSpec::new();
        for (number, disk) in disks.iter().enumerate() {
            spec = spec.volume(format!("{}:/data{number}", disk.display()).parse().unwrap());
        }
        let mut record = Record::new("old".parse().unwrap(), old.runtime.clone(), spec.clone());
        record.boots = Some(Box::new(spec));
        drop(Claim::create(old.clone(), &record).unwrap().unwrap());
        std::fs::remove_file(old.creating()).unwrap();
        runtime_folder::make(&old).unwrap();

        let new: Name = "new".parse().unwrap();
        rename(&knaller.inner, &"old".parse().unwrap(), &new)
            .await
            .unwrap();
        let files = layout::files(&paths, &new);
        let record = Record::load(&files.record()).unwrap();
        let [_, _, volume, elsewhere, anothers] = disks;
        let expected = [
            files.data.join("volume0.ext4"),
            files.data.join("volume1.ext4"),
            volume,
            elsewhere,
            anothers,
        ];
        for spec in [&record.spec, record.boots.as_deref().unwrap()] {
            let sources = spec.volumes.iter().map(|volume| &volume.source);
            assert!(
                sources.eq(expected.clone().map(VolumeSource::File).iter()),
                "{spec:?}"
            );
        }
    }
}
