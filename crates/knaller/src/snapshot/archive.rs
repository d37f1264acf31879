//! A snapshot as one file, to be taken to another host.
//!
//! The invariant: what comes in is looked at as if a stranger had made it. It has the files that a snapshot has, with
//! the checksums that it says, and what it says of a host is nothing here ([`super::foreign`]).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use images::Task;
use images::sparse_archive::{self, ArchiveError};
use rustix::fs::MemfdFlags;

use super::checksum;
use super::description::{Description, FILE};
use super::foreign::{Admitted, admit};
use super::restore::volume_file;
use super::store::{Held, SnapshotInfo, Snapshots};
use crate::layout;
use crate::template::Program;
use crate::{Error, Name, Options, Result, Root, image};

/// A snapshot that came in from another host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    pub snapshot: SnapshotInfo,
    /// What its file said that does not hold here, such as a machine without a jail, and what does: a sentence each.
    pub changed: Vec<String>,
}

/// Writes a snapshot to `out`, its description first; one that builds on others as a whole one. Blocks.
pub(crate) fn export(options: &Options, held: &Held, out: impl Write, task: &Task) -> Result<()> {
    if held.description.parent.is_some() {
        let fresh = Snapshots::open(&options.paths)?.nameless()?;
        let description = held.flatten(&fresh, task)?;
        return export(options, &fresh.held(description), out, task);
    }
    let mut description = held.description.clone();
    check(&description)?;
    held.verify()?;
    if let Some(base) = &mut description.base {
        let path = base_of(options, &description.record, task)?;
        base.checksum = Some(checksum::of(&path).map_err(Error::io("read", &path))?);
    }
    let mut files = vec![(FILE.to_owned(), in_memory(&description.to_json()?)?)];
    let folder = held.folder();
    for name in description.files.keys() {
        let path = folder.join(name);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        files.push((name.clone(), file));
    }
    Ok(sparse_archive::write(files, out, task)?)
}

/// Keeps what [`export`] has written, under the name that it has or another. Blocks.
pub(crate) fn import(
    options: &Options,
    input: impl Read,
    name: Option<Name>,
    task: &Task,
) -> Result<Imported> {
    let snapshots = Snapshots::open(&options.paths)?;
    // Before all the work.
    name.as_ref().map_or(Ok(()), |name| snapshots.vacant(name))?;
    let fresh = snapshots.nameless()?;
    let names: BTreeSet<String> = sparse_archive::read(input, fresh.folder(), task)?
        .into_iter()
        .collect();
    if !names.contains(FILE) {
        return Err(ArchiveError::Lacks(FILE).into());
    }
    let mut description = Description::load(fresh.folder()).map_err(|error| match error {
        // Where it lies is gone in a moment.
        Error::Record { source, .. } => ArchiveError::Garbled { name: FILE, source }.into(),
        other => other,
    })?;
    if let Some(name) = name {
        description.name = name;
    }
    let fresh = snapshots.named(fresh, &description.name)?;
    check(&description)?;
    let damaged = |reason: String| Error::SnapshotDamaged {
        name: description.name.clone(),
        reason,
    };
    if let Some(other) = names
        .iter()
        .find(|name| *name != FILE && !description.files.contains_key(*name))
    {
        return Err(damaged(format!("{other} does not belong there")));
    }
    description.record.spec.validate()?;
    let name = description.name.clone();
    let admitted = admit(description, fresh.named(), &options.paths.runtime);
    let Admitted {
        mut description,
        changed,
    } = admitted.map_err(|reason| Error::SnapshotNotPortable { name, reason })?;
    description.record.spec.validate()?;
    description.verify(fresh.folder(), |_| true)?;
    if let Ok(path) = base_of(options, &description.record, task) {
        description.settle_base(&path)?;
    }
    let snapshot = fresh.finish(&description)?;
    Ok(Imported { snapshot, changed })
}

/// Refuses a snapshot that needs a file of the host it was taken on, or has others than a snapshot has.
fn check(description: &Description) -> Result<()> {
    let spec = &description.record.spec;
    let has = |name: &str| description.files.contains_key(name);
    let refused = |reason: String| Error::SnapshotNotPortable {
        name: description.name.clone(),
        reason,
    };
    if let Some(parent) = &description.parent {
        return Err(refused(format!("it is a difference to {}", parent.name)));
    }
    let mut known: BTreeSet<String> = ["state", "memory"].map(str::to_owned).into();
    known.extend(match spec.root {
        Root::Initramfs => None,
        Root::Builtin | Root::Image(_) => Some(layout::OVERLAY.to_owned()),
        Root::File(_) => Some(layout::ROOTFS.to_owned()),
        Root::Raw(ref path) => {
            return Err(refused(format!(
                "it reads a disk of this host, {}",
                path.display()
            )));
        }
    });
    for (number, volume) in spec.volumes.iter().enumerate() {
        let file = volume_file(number);
        if volume.read_only && !has(&file) {
            return Err(refused(format!(
                "it reads a volume of this host, at {}",
                volume.path
            )));
        }
        known.insert(file);
    }
    if let Some(missing) = known.iter().find(|name| !has(name)) {
        return Err(refused(format!("it has no {missing}")));
    }
    match description.files.keys().find(|name| !known.contains(*name)) {
        Some(other) => Err(refused(format!("{other} is no file of such a machine"))),
        None => Ok(()),
    }
}

/// The root file system that a machine's overlay lies over.
pub(super) fn base_of(
    options: &Options,
    record: &crate::record::Record,
    task: &Task,
) -> Result<std::path::PathBuf> {
    let base = image::base(options, &record.spec.root, record.image.as_deref(), task)?;
    let named = record.image.clone().unwrap_or_default();
    Ok(base.ok_or(Error::NoImage(named))?.disk.path)
}

/// A file that has no name.
fn in_memory(bytes: &[u8]) -> Result<File> {
    let failed = || Error::system("make a file in memory");
    let file = rustix::fs::memfd_create(c"snapshot", MemfdFlags::CLOEXEC);
    let mut file = File::from(file.map_err(|error| failed()(error.into()))?);
    file.write_all(bytes).map_err(failed())?;
    std::io::Seek::rewind(&mut file).map_err(failed())?;
    Ok(file)
}

impl Description {
    /// Whether `path` is the root file system that the guest knows: the very file, or one with the same in it. Says in
    /// the first case that it is for good.
    pub(super) fn settle_base(&mut self, path: &Path) -> Result<bool> {
        let Some(base) = &mut self.base else {
            return Ok(true);
        };
        let now = Program::at(path).map_err(Error::io("look at", path))?;
        if base.file == now {
            return Ok(true);
        }
        let Some(checksum) = &base.checksum else {
            return Ok(false);
        };
        let same = checksum::of(path).map_err(Error::io("read", path))? == *checksum;
        if same {
            base.file = now;
        }
        Ok(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::{MEMORY, STATE};
    use crate::record::Record;
    use crate::{MachineSpec, Paths};

    /// What starts touch is noted beside a snapshot, and is none of what it was taken with.
    #[test]
    fn what_was_noted_beside_it_stays_here_and_does_not_come_in() {
        let temp = tempfile::tempdir().unwrap();
        let options = Options::new(Paths {
            data: temp.path().join("data"),
            runtime: temp.path().join("run"),
        });
        let name: Name = "ready".parse().unwrap();
        let spec = MachineSpec::new().root(Root::Initramfs);
        let mut record = Record::new("db".parse().unwrap(), options.paths.runtime.clone(), spec);
        record.vmm = "sparkler".to_owned();
        record.kernel = "0".repeat(64);
        let mut description = Description::new(name.clone(), record, "1.0".to_owned(), "cpu".to_owned());
        let snapshots = Snapshots::open(&options.paths).unwrap();
        let fresh = snapshots.fresh(&name).unwrap();
        for file in [STATE, MEMORY] {
            std::fs::write(fresh.folder().join(file), [1; 4096]).unwrap();
        }
        description
            .measure(fresh.folder(), fresh.files().unwrap())
            .unwrap();
        fresh.finish(&description).unwrap();
        let held = snapshots.get(&name).unwrap();
        std::fs::write(held.working_set().unwrap(), "{}").unwrap();
        let (mut archive, task) = (Vec::new(), Task::new());
        export(&options, &held, &mut archive, &task).unwrap();
        let other = |name: &str| Some(name.parse::<Name>().unwrap());
        import(&options, archive.as_slice(), other("clean"), &task).unwrap();
        assert!(
            !snapshots
                .get(&other("clean").unwrap())
                .unwrap()
                .working_set()
                .unwrap()
                .exists()
        );

        let mut files = Vec::new();
        for file in [FILE, STATE, MEMORY, "working-set"] {
            files.push((file.to_owned(), File::open(held.folder().join(file)).unwrap()));
        }
        let mut archive = Vec::new();
        sparse_archive::write(files, &mut archive, &task).unwrap();
        let refused = import(&options, archive.as_slice(), other("foreign"), &task);
        assert!(matches!(refused, Err(Error::SnapshotArchive(_))));
    }
}
