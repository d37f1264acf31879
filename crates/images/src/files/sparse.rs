//! Copying files that are mostly holes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
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
    let mut written = 0;
    let mut at = 0;
    while let Some((start, end)) = next_data(from, at, size)? {
        at = start;
        while at < end {
            task.at("copying the disk", at, Some(size))?;
            let count = copy_range(from, to, at, STEP.min(end - at))?;
            if count == 0 {
                let text = "the file became shorter while it was copied";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text).into());
            }
            at += count;
            written += count;
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

/// Copies at most `length` bytes at `at` to the same place; gives how many.
fn copy_range(from: &File, to: &File, at: u64, length: u64) -> io::Result<u64> {
    let (mut read_at, mut write_at) = (at, at);
    let length = usize::try_from(length).unwrap_or(BUFFER);
    match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length) {
        Ok(count) => Ok(count as u64),
        Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
            let mut buffer = vec![0; length.min(BUFFER)];
            let count = from.read_at(&mut buffer, at)?;
            to.write_all_at(buffer.get(..count).unwrap_or_default(), at)?;
            Ok(count as u64)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

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
