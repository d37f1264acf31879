//! The writable disk of a VM that shares a read-only base: an empty ext4 file system, made in milliseconds.
//!
//! The invariant: making one costs the same whatever its size and whatever the base: a sparse template is made once for each
//! size and copied by sharing its blocks, or else by writing those few that are no holes (140 KiB of an 8 GiB disk).
//!
//! It has a journal. Without one, mounting is 2 ms quicker; but a VM that is killed and started again would find its files
//! in whatever state the last write left them.

use std::path::{Path, PathBuf};

use crate::ext4::{Blank, MakeError, ToolError, make_blank};
use crate::files::{
    Copied, CopyError, ReadError, StageError, Staging, TrustError, copy_to_new, open, private_folder,
};
use crate::task::Task;

const MIB: u64 = 1 << 20;

/// The smallest disk, in bytes: less leaves no room beside the journal.
pub const MIN_SIZE: u64 = 32 * MIB;

/// The largest disk, in bytes: what ext4 can hold with blocks of 4 KiB and the tools were tried with.
pub const MAX_SIZE: u64 = 16 << 40;

/// Counted up when templates change, so that old ones are not used.
const FORM: u32 = 2;

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    #[error("a disk of {} MiB cannot be made: from {} MiB to {} TiB can", size / MIB, MIN_SIZE / MIB, MAX_SIZE >> 40)]
    Size { size: u64 },
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Copy(#[from] CopyError),
}

impl From<MakeError> for OverlayError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Stage(error) => Self::Stage(error),
            MakeError::Tool(error) => Self::Tool(error),
        }
    }
}

/// Makes the file `path`, which must not be there: a disk of `size` bytes (rounded up to MiB) with an empty ext4 file system.
/// Templates are kept in the folder `templates` of the user's data folder `data`.
///
/// # Errors
/// The size is out of range, `path` is there, e2fsprogs is missing, or the disk is full. No file is left then.
pub fn create_overlay(data: &Path, path: &Path, size: u64, task: &Task) -> Result<Copied, OverlayError> {
    if !(MIN_SIZE..=MAX_SIZE).contains(&size) {
        return Err(OverlayError::Size { size });
    }
    let (template, _) = open(&template(data, size.next_multiple_of(MIB))?)?;
    Ok(copy_to_new(&template, path, task)?)
}

/// The template for disks of `size` bytes, made if it is not there.
fn template(data: &Path, size: u64) -> Result<PathBuf, OverlayError> {
    let folder = data.join("templates");
    private_folder(data)?;
    private_folder(&folder)?;
    let name = format!("blank-{FORM}-{}m.ext4", size / MIB);
    let path = folder.join(&name);
    if !path.is_file() {
        let staging = Staging::new(&folder)?;
        let journal_mib = (size / MIB / 64).clamp(4, 16);
        make_blank(&staging.path().join(&name), Blank { size, journal_mib })?;
        staging.publish_file(&name, &name)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::ext4::Superblock;

    #[test]
    fn a_disk_is_an_empty_file_system_of_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        for (number, size) in [MIN_SIZE, 8 << 30, (256 << 30) - 5].into_iter().enumerate() {
            let path = folder.path().join(format!("{number}.ext4"));
            let copied = create_overlay(&data, &path, size, &Task::new()).unwrap();
            let metadata = path.metadata().unwrap();
            assert_eq!(metadata.len(), size.next_multiple_of(MIB));
            File::open(&path).unwrap().sync_all().unwrap();
            assert!(
                metadata.blocks() * 512 < MIB,
                "{} bytes on the disk",
                metadata.blocks() * 512
            );
            assert!(
                matches!(copied, Copied::Shared | Copied::Written(..MIB)),
                "{copied:?}"
            );
            let superblock = Superblock::read(&File::open(&path).unwrap()).unwrap().unwrap();
            assert_eq!(superblock.size, metadata.len());
            assert!(!superblock.needs_recovery && !superblock.unclean);
            let checked = std::process::Command::new("/sbin/e2fsck")
                .arg("-fn")
                .arg(&path)
                .output()
                .unwrap();
            assert!(
                checked.status.success(),
                "{}",
                String::from_utf8_lossy(&checked.stdout)
            );
            let listed = std::process::Command::new("/sbin/debugfs")
                .args(["-R", "ls -p /"])
                .arg(&path)
                .output()
                .unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            let names = listed.lines().filter_map(|line| line.split('/').nth(5));
            assert_eq!(names.collect::<Vec<_>>(), [".", ".."], "{listed}");
        }
        assert_eq!(fs::read_dir(data.join("templates")).unwrap().count(), 3);
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        for size in [0, MIN_SIZE - 1, MAX_SIZE + 1, u64::MAX] {
            let error = create_overlay(folder.path(), &path, size, &Task::new()).unwrap_err();
            assert!(matches!(error, OverlayError::Size { .. }), "{error}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn makers_at_once_use_one_template() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = folder.path().join(number.to_string());
                let data = folder.path().join("data");
                scope.spawn(move || create_overlay(&data, &path, 64 * MIB, &Task::new()).unwrap());
            }
        });
        assert_eq!(
            fs::read_dir(folder.path().join("data/templates"))
                .unwrap()
                .count(),
            1
        );
        let first = fs::read(folder.path().join("0")).unwrap();
        assert!((1..8).all(|number| fs::read(folder.path().join(number.to_string())).unwrap() == first));
    }
}
