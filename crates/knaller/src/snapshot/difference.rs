//! What a snapshot that builds on another keeps: the pages that are not as they were there.
//!
//! The invariant: whatever is handed in, a VMM's list of changed pages or all of them, only pages that differ are kept;
//! so how a VMM finds changes decides how long a machine stands still, and never what is in a snapshot.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use images::Task;
use images::rootfs::Rootfs;
use rustix::fs::ioctl_ficlone;

use super::chain::difference_at;
use super::layers::{Among, PAGE, thin_out};
use super::store::Held;
use crate::handover::MEMORY;
use crate::{Error, Result};

/// Whether a file system says of each page whether it was written. On one with larger blocks, those beside it look as
/// if they were.
pub(super) fn tells_pages(folder: &Path) -> bool {
    folder.metadata().is_ok_and(|data| data.blksize() <= PAGE)
}

/// Makes a difference, in its place, of the memory that a VMM wrote into `folder`: of all of it, or of what was changed.
/// Gives where that is.
pub(super) fn of_memory(folder: &Path, below: &Held, among: Among, task: &Task) -> Result<PathBuf> {
    let path = folder.join(MEMORY);
    let [changes, map] = difference_at(folder, MEMORY);
    let failed = || Error::io("compare", &path);
    let file = File::options().read(true).write(true).open(&path);
    let file = file.map_err(failed())?;
    let size = file.metadata().map_err(failed())?.len();
    let parent = || below.description.name.clone();
    let layers = below.layers(MEMORY)?.filter(|layers| layers.size() == size);
    let layers = layers.ok_or_else(|| Error::SnapshotDamaged {
        name: parent(),
        reason: format!("it has no memory of {size} bytes"),
    })?;
    let pages = layers.difference(&file, among, task, |_, _| Ok(()));
    let pages = pages.map_err(failed())?;
    thin_out(&file, &pages).map_err(failed())?;
    fs::rename(&path, &changes).map_err(Error::io("rename", &path))?;
    pages.save(&map).map_err(Error::io("write", &map))?;
    Ok(changes)
}

/// Keeps a disk, at `path`, in `folder`: whole where its blocks can be shared, or where there was none such, else what
/// changed of it. It must not be written to meanwhile.
pub(super) fn of_disk(path: &Path, folder: &Path, name: &str, below: &Held, task: &Task) -> Result<()> {
    let failed = || Error::io("compare", path);
    let disk = File::open(path).map_err(failed())?;
    let whole = folder.join(name);
    if shared(&disk, &whole).map_err(Error::io("write", &whole))? {
        return Ok(());
    }
    let size = disk.metadata().map_err(failed())?.len();
    let Some(layers) = below.layers(name)?.filter(|layers| layers.size() == size) else {
        Rootfs::open(path)?.copy_to(&whole, task)?;
        return Ok(());
    };
    let [changes, map] = difference_at(folder, name);
    let to = private(&changes).and_then(|to| to.set_len(size).map(|()| to));
    let to = to.map_err(Error::io("write", &changes))?;
    let write = |bytes: &[u8], at| to.write_all_at(bytes, at);
    let pages = layers.difference(&disk, Among::All, task, write);
    let pages = pages.map_err(Error::io("write", &changes))?;
    pages.save(&map).map_err(Error::io("write", &map))
}

/// A new file that its owner alone reads, whatever the umask says: what it is to hold may be secret.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// Makes `to` of the very blocks of `from`; whether the file system can.
fn shared(from: &File, to: &Path) -> std::io::Result<bool> {
    let file = private(to)?;
    if ioctl_ficlone(&file, from).is_ok() {
        return Ok(true);
    }
    fs::remove_file(to)?;
    Ok(false)
}
