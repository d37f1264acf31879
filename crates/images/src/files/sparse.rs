//! Copying files that are mostly holes.
//!
//! A file system that does not know its holes (9p, many in user space) says that all is data, as one does that has written
//! every block. What tells them apart is the room that the file takes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::StageError;
use crate::task::{Cancelled, Task};

/// How a copy was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The file system shares the blocks (FICLONE): nothing was written.
    Shared,
    /// This many bytes were written, and the holes left as they are.
    Written(u64),
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{path} is there already")]
    Exists { path: PathBuf },
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Why a copy was not finished.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How much is copied between two looks at the task.
const STEP: u64 = 32 << 20;
const BUFFER: usize = 1 << 20;

/// How much is a hole if it is zero, where no holes are told: what file systems and guests have for a block.
const BLOCK: usize = 4 << 10;

/// Copies `from` to the new file `path`, or leaves no file there: by sharing its blocks where the file system can, else
/// its data without its holes.
///
/// # Errors
/// `path` is there, the disk is full, or `task` is called off.
pub fn copy_to_new(from: &File, path: &Path, task: &Task) -> Result<Copied, CopyError> {
    let broken = |source| StageError::new(path, from.metadata().map_or(0, |from| from.len()), source);
    let new = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let file = match new {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(CopyError::Exists {
                path: path.to_owned(),
            });
        }
        file => file.map_err(broken)?,
    };
    copy_sparse(from, &file, task).map_err(|error| {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "a part of a copy is left");
        }
        match error {
            Unfinished::Cancelled(error) => error.into(),
            Unfinished::Io(source) => broken(source).into(),
        }
    })
}

/// Copies `from` into the empty file `to`, holes and all.
fn copy_sparse(from: &File, to: &File, task: &Task) -> Result<Copied, Unfinished> {
    // Any refusal means: not on this file system, or not between these two.
    if ioctl_ficlone(to, from).is_ok() {
        return Ok(Copied::Shared);
    }
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let copy = if hides_holes(from)? {
        copy_blocks
    } else {
        copy_range
    };
    let mut written = 0;
    let mut at = 0;
    while let Some((start, end)) = next_data(from, at, size)? {
        at = start;
        while at < end {
            task.at("copying the disk", at, Some(size))?;
            let step = copy(from, to, at, STEP.min(end - at))?;
            if step.read == 0 {
                let text = "the file became shorter while it was copied";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text).into());
            }
            at += step.read;
            written += step.written;
        }
    }
    Ok(Copied::Written(written))
}

/// Where data begins and ends at or behind `at`.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some((start, seek(file, SeekFrom::Hole(start))?))),
        Err(Errno::NXIO) => Ok(None),
        // A file system that does not know its holes: all is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((at < size).then_some((at, size))),
        Err(error) => Err(error.into()),
    }
}

/// Whether there are holes that the file system does not tell of: the file takes less room than one without them would, and
/// yet all of it is said to be data. One that is compressed looks the same, and only costs a look at its zeros.
fn hides_holes(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let whole = matches!(next_data(file, 0, metadata.len())?, Some((0, end)) if end >= metadata.len());
    // Of 512 bytes (stat(2)).
    Ok(whole && metadata.blocks().saturating_mul(512) < metadata.len())
}

/// How far one step of a copy came.
#[derive(Clone, Copy)]
struct Step {
    read: u64,
    written: u64,
}

impl Step {
    /// All of it was written.
    fn of(count: usize) -> Self {
        let count = count as u64;
        Self {
            read: count,
            written: count,
        }
    }
}

/// Copies at most `length` bytes at `at` to the same place, of an empty file, but for blocks of zeros.
fn copy_blocks(from: &File, to: &File, at: u64, length: u64) -> io::Result<Step> {
    let mut buffer = vec![0; usize::try_from(length).map_or(BUFFER, |length| length.min(BUFFER))];
    let read = from.read_at(&mut buffer, at)?;
    buffer.truncate(read);
    let mut written = 0;
    for (block, at) in buffer.chunks(BLOCK).zip((at..).step_by(BLOCK)) {
        if block.iter().any(|byte| *byte != 0) {
            to.write_all_at(block, at)?;
            written += block.len();
        }
    }
    Ok(Step {
        read: read as u64,
        written: written as u64,
    })
}

/// Copies at most `length` bytes at `at` to the same place.
fn copy_range(from: &File, to: &File, at: u64, length: u64) -> io::Result<Step> {
    let (mut read_at, mut write_at) = (at, at);
    let length = usize::try_from(length).unwrap_or(BUFFER);
    match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length) {
        Ok(count) => Ok(Step::of(count)),
        Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
            let mut buffer = vec![0; length.min(BUFFER)];
            let count = from.read_at(&mut buffer, at)?;
            to.write_all_at(buffer.get(..count).unwrap_or_default(), at)?;
            Ok(Step::of(count))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// How many bytes of the file are no holes.
    fn data_size(file: &File) -> u64 {
        let size = file.metadata().unwrap().len();
        let mut ranges = Vec::new();
        while let Some((start, end)) =
            next_data(file, ranges.last().map_or(0, |(_, end)| *end), size).unwrap()
        {
            ranges.push((start, end));
        }
        ranges.iter().map(|(start, end)| end - start).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_copy_is_the_same_and_no_larger(
            size in 0u64..4_000_000,
            data in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..70_000, 1u8..), 0..6),
        ) {
            let [from, to] = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
            from.set_len(size).unwrap();
            for (at, length, byte) in data {
                let at = at.index(1 + usize::try_from(size).unwrap()) as u64;
                let length = length.min(usize::try_from(size - at).unwrap());
                from.write_all_at(&vec![byte; length], at).unwrap();
            }
            copy_sparse(&from, &to, &Task::new()).unwrap();
            let mut bytes = [Vec::new(), Vec::new()];
            for (file, bytes) in [&from, &to].into_iter().zip(&mut bytes) {
                bytes.resize(usize::try_from(file.metadata().unwrap().len()).unwrap(), 0);
                file.read_exact_at(bytes, 0).unwrap();
            }
            prop_assert!(bytes[0] == bytes[1]);
            prop_assert!(data_size(&to) <= data_size(&from));
        }
    }

    #[test]
    fn an_empty_terabyte_costs_nothing() {
        let [from, to] = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        from.set_len(1 << 40).unwrap();
        assert!(matches!(
            copy_sparse(&from, &to, &Task::new()).unwrap(),
            Copied::Written(0) | Copied::Shared
        ));
        assert_eq!(to.metadata().unwrap().len(), 1 << 40);
        assert_eq!(to.metadata().unwrap().blocks(), 0);
    }

    /// A file on a file system that does not know its holes, until the process ends that has mounted it.
    fn without_holes(folder: &Path, size: u64) -> (Child, File) {
        let script = "mount -t ramfs none \"$0\" && : > \"$0/file\" && echo mounted && read line";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "mounted\n");
        let inside = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let path = inside.join(folder.join("file").strip_prefix("/").unwrap());
        let file = File::options().read(true).write(true).open(path).unwrap();
        file.set_len(size).unwrap();
        (holder, file)
    }

    #[test]
    fn holes_that_are_not_told_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let size = 40 << 20;
        let (mut holder, from) = without_holes(folder.path(), size);
        let data = [(0, 1), (5 << 20, 10_000), ((33 << 20) + 7, 5), (size - 1, 1)];
        for (at, length) in data {
            from.write_all_at(&vec![7; length], at).unwrap();
        }
        assert_eq!(next_data(&from, 0, size).unwrap(), Some((0, size)));
        let to = tempfile::tempfile().unwrap();
        let copied = copy_sparse(&from, &to, &Task::new()).unwrap();
        assert_eq!(copied, Copied::Written(6 * BLOCK as u64));
        let mut bytes = [vec![1; 40 << 20], vec![2; 40 << 20]];
        from.read_exact_at(&mut bytes[0], 0).unwrap();
        to.read_exact_at(&mut bytes[1], 0).unwrap();
        assert!(bytes[0] == bytes[1] && to.metadata().unwrap().len() == size);
        drop(holder.stdin.take());
        let _ = holder.wait().unwrap();
    }

    #[test]
    fn a_file_without_holes_hides_none() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
        // Whoever puts off the choice of blocks has chosen now.
        file.sync_all().unwrap();
        assert!(!hides_holes(&file).unwrap());
        file.set_len(2 << 20).unwrap();
        assert!(!hides_holes(&file).unwrap());
        assert!(!hides_holes(&tempfile::tempfile().unwrap()).unwrap());
    }

    #[test]
    fn a_cancelled_copy_ends() {
        let [from, to] = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        from.write_all_at(b"data", 0).unwrap();
        let task = Task::new();
        task.cancel();
        match copy_sparse(&from, &to, &task) {
            // Sharing blocks takes no steps to end at.
            Ok(copied) => assert_eq!(copied, Copied::Shared),
            Err(error) => assert!(matches!(error, Unfinished::Cancelled(_)), "{error}"),
        }
    }

    #[test]
    fn a_file_that_is_there_is_kept_and_a_part_of_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let from = tempfile::tempfile().unwrap();
        from.write_all_at(b"data", 0).unwrap();
        assert!(matches!(
            copy_to_new(&from, &path, &Task::new()),
            Ok(Copied::Written(4) | Copied::Shared)
        ));
        assert!(matches!(
            copy_to_new(&from, &path, &Task::new()),
            Err(CopyError::Exists { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"data");
        let task = Task::new();
        task.cancel();
        let other = folder.path().join("other");
        assert_eq!(copy_to_new(&from, &other, &task).is_ok(), other.exists());
    }
}
