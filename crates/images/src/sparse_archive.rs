//! Sparse files as one file: a tar of GNU's form for sparse files, packed with zstd, which `tar --zstd` reads and writes too.
//!
//! The invariant: holes are neither read nor written, and nothing is made outside of the folder that was given.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tar::Builder;
use zstd::stream::{read::Decoder, write::Encoder};

use crate::overlay;
use crate::tar::{self as reader, Kind, Reader, TarError};
use crate::task::{Cancelled, Task};
use crate::watched::{Meter, Watched};

/// Quick, and small enough for what is mostly memory and disks.
const LEVEL: i32 = 3;

/// How what is packed with zstd begins (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// More than this many files are in no archive of ours.
const MAX_FILES: usize = 256;

/// The longest name of a file.
const MAX_NAME: usize = 64;

/// The largest file, holes included: a disk, the largest there is.
const MAX_SIZE: u64 = overlay::MAX_SIZE;

/// Pieces of one file: 64 MiB of memory for their map, and a file of 256 GiB that is in pieces of 64 KiB.
const MAX_PIECES: usize = 4 << 20;

/// Why an archive was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("cannot {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the archive cannot be written")]
    Write(#[source] io::Error),
    #[error("it is empty")]
    Empty,
    #[error("it is no archive packed with zstd")]
    NotPacked,
    #[error("the archive cannot be unpacked")]
    Unpack(#[source] io::Error),
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("there is no {0} in the archive")]
    Lacks(&'static str),
    #[error("{name} in the archive is none that this program reads")]
    Garbled {
        name: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{0:?} in the archive is not one of the plain files that belong there")]
    Unexpected(String),
    #[error(
        "{name} in the archive has {needed} bytes that are not holes, and {available} are free on the disk of {}",
        folder.display()
    )]
    NoRoom {
        name: String,
        folder: PathBuf,
        needed: u64,
        available: u64,
    },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Writes files under these names, in this order.
///
/// # Errors
/// One cannot be read, `out` cannot be written, or `task` is called off.
pub fn write(
    files: impl IntoIterator<Item = (String, File)>,
    out: impl Write,
    task: &Task,
) -> Result<(), ArchiveError> {
    let mut packed = Encoder::new(out, LEVEL).map_err(ArchiveError::Write)?;
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(4));
    packed
        .multithread(u32::try_from(threads).unwrap_or(1))
        .map_err(ArchiveError::Write)?;
    let mut tar = Builder::new(Stoppable { inner: packed, task });
    for (name, mut file) in files {
        let called_off = |error| task.check().err().map_or(ArchiveError::Write(error), Into::into);
        tar.append_file(name, &mut file).map_err(called_off)?;
    }
    let mut packed = tar.into_inner().map_err(ArchiveError::Write)?.inner;
    packed.do_finish().map_err(ArchiveError::Write)?;
    packed.get_mut().flush().map_err(ArchiveError::Write)
}

/// Makes the files of an archive in `folder`, readable by their owner alone. Gives their names.
///
/// # Errors
/// The archive is damaged or holds something else than plain files, the disk has no room for what one of them says to have or
/// is full by then, or `task` is called off. What was made by then is left.
pub fn read(input: impl Read, folder: &Path, task: &Task) -> Result<Vec<String>, ArchiveError> {
    let meter = Meter::new("unpacking the archive", None, task);
    let mut input = Watched::new(input, &meter);
    let mut magic = Vec::new();
    let begun = input.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic);
    begun.map_err(|error| task.check().err().map_or(ArchiveError::Unpack(error), Into::into))?;
    if magic.is_empty() {
        return Err(ArchiveError::Empty);
    }
    if magic != MAGIC {
        return Err(ArchiveError::NotPacked);
    }
    let unpacked = Decoder::new(magic.as_slice().chain(input)).map_err(ArchiveError::Unpack)?;
    let limits = reader::Limits {
        headers: 4 * MAX_FILES as u64,
        sparse: MAX_PIECES,
        file: MAX_SIZE,
        // Each file is held against the room on the disk.
        total: u64::MAX,
        ..reader::Limits::default()
    };
    let mut tar = Reader::new(unpacked, &limits);
    let called_off = |error: TarError| task.check().err().map_or(ArchiveError::Tar(error), Into::into);
    let mut names = Vec::new();
    while let Some(entry) = tar.next().map_err(called_off)? {
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        let Kind::File { size } = entry.kind else {
            return Err(ArchiveError::Unexpected(name));
        };
        if !is_plain(&name) || names.len() == MAX_FILES {
            return Err(ArchiveError::Unexpected(name));
        }
        check_room(&name, tar.stored(), folder)?;
        let path = folder.join(&name);
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(failed("make", &path))?;
        while let Some((at, bytes)) = tar.data().map_err(called_off)? {
            file.write_all_at(bytes, at).map_err(failed("write", &path))?;
        }
        file.set_len(size).map_err(failed("write", &path))?;
        names.push(name);
    }
    tar.finish().map_err(called_off)?;
    Ok(names)
}

/// Refuses a file that the disk has no room for, before any of it is there: a full disk is everybody's trouble.
fn check_room(name: &str, needed: u64, folder: &Path) -> Result<(), ArchiveError> {
    let figures = rustix::fs::statvfs(folder).map_err(|error| failed("look at", folder)(error.into()))?;
    let available = figures.f_bavail.saturating_mul(figures.f_frsize);
    if needed <= available {
        return Ok(());
    }
    Err(ArchiveError::NoRoom {
        name: name.to_owned(),
        folder: folder.to_owned(),
        needed,
        available,
    })
}

/// Whether a name is one of a file in the folder itself, whatever else there is.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.';
    !name.starts_with('.') && (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| ArchiveError::File { action, path, source }
}

/// A writer that ends when the work is called off.
struct Stoppable<'a, W> {
    inner: W,
    task: &'a Task,
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.task.check().map_err(io::Error::other)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use tar::{EntryType, Header};

    use super::*;

    fn tree(folder: &Path) -> Vec<String> {
        fs::write(folder.join("a.json"), "{}").unwrap();
        let memory = File::create(folder.join("memory")).unwrap();
        memory.set_len(64 << 20).unwrap();
        for block in (0..600).step_by(2) {
            memory.write_all_at(&[7; 65536], block * 65536).unwrap();
        }
        File::create(folder.join("empty")).unwrap();
        File::create(folder.join("hole"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        ["a.json", "memory", "empty", "hole"].map(str::to_owned).to_vec()
    }

    fn open(folder: &Path, names: &[String]) -> Vec<(String, File)> {
        let open = |name: &String| (name.clone(), File::open(folder.join(name)).unwrap());
        names.iter().map(open).collect()
    }

    fn same(one: &Path, other: &Path, names: &[String]) {
        for name in names {
            let (one, other) = (one.join(name), other.join(name));
            assert_eq!(one.metadata().unwrap().len(), other.metadata().unwrap().len());
            let status = Command::new("cmp").args([&one, &other]).status().unwrap();
            assert!(status.success(), "{name}");
            let blocks = |path: &Path| path.metadata().unwrap().blocks();
            assert!(
                blocks(&other) <= blocks(&one) + 64,
                "{name} is as sparse as it was"
            );
        }
    }

    #[test]
    fn files_come_back_as_they_were_with_their_holes() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let names = tree(from.path());
        let mut archive = Vec::new();
        write(open(from.path(), &names), &mut archive, &Task::new()).unwrap();
        assert!(archive.len() < 1 << 20, "{} bytes", archive.len());
        assert_eq!(read(&archive[..], to.path(), &Task::new()).unwrap(), names);
        same(from.path(), to.path(), &names);
    }

    #[test]
    fn tar_reads_and_writes_the_same() {
        let (from, there, back) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let names = tree(from.path());
        let archive = there.path().join("archive.tar.zst");
        let out = File::create(&archive).unwrap();
        write(open(from.path(), &names), out, &Task::new()).unwrap();
        let tar = |words: &[&str]| {
            let status = Command::new("tar")
                .arg("--zstd")
                .args(words)
                .current_dir(there.path())
                .status();
            assert!(status.unwrap().success());
        };
        tar(&["-xf", "archive.tar.zst"]);
        same(from.path(), there.path(), &names);
        let mut words = vec!["-cSf", "theirs.tar.zst"];
        words.extend(names.iter().map(String::as_str));
        tar(&words);
        let theirs = File::open(there.path().join("theirs.tar.zst")).unwrap();
        assert_eq!(read(theirs, back.path(), &Task::new()).unwrap(), names);
        same(from.path(), back.path(), &names);
    }

    fn packed(entries: &[(&str, EntryType)]) -> Vec<u8> {
        let mut tar = Builder::new(Encoder::new(Vec::new(), 1).unwrap());
        for (name, kind) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(0);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            tar.append(&header, io::empty()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn nothing_is_made_but_plain_files_in_the_folder() {
        let regular = EntryType::Regular;
        for (name, kind) in [
            ("../out", regular),
            ("/tmp/out", regular),
            ("a/b", regular),
            (".hidden", regular),
            ("link", EntryType::Symlink),
            ("folder", EntryType::Directory),
            ("pipe", EntryType::Fifo),
        ] {
            let temp = tempfile::tempdir().unwrap();
            let folder = temp.path().join("in");
            fs::create_dir(&folder).unwrap();
            let refused = read(&packed(&[(name, kind)])[..], &folder, &Task::new());
            assert!(
                matches!(refused, Err(ArchiveError::Unexpected(_) | ArchiveError::Tar(_))),
                "{name}: {refused:?}"
            );
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{name}");
            assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1, "{name}");
        }
    }

    #[test]
    fn what_the_disk_has_no_room_for_is_refused_before_any_of_it_is_there() {
        let temp = tempfile::tempdir().unwrap();
        let claimed = 1 << 62;
        let mut header = Header::new_gnu();
        header.set_path("memory").unwrap();
        header.set_size(claimed);
        header.set_cksum();
        let packed = zstd::encode_all(&header.as_bytes()[..], 1).unwrap();
        let refused = read(&packed[..], temp.path(), &Task::new());
        assert!(matches!(refused, Err(ArchiveError::Tar(_))), "{refused:?}");
        // As large as a disk may be, and larger than this one.
        header.set_size(MAX_SIZE);
        header.set_cksum();
        let packed = zstd::encode_all(&header.as_bytes()[..], 1).unwrap();
        let refused = read(&packed[..], temp.path(), &Task::new()).unwrap_err();
        assert!(
            matches!(refused, ArchiveError::NoRoom { needed: MAX_SIZE, available, .. } if available < MAX_SIZE),
            "{refused}"
        );
        assert!(refused.to_string().contains(&MAX_SIZE.to_string()), "{refused}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_same_name_twice_is_refused_and_so_is_noise() {
        let temp = tempfile::tempdir().unwrap();
        let twice = packed(&[("a", EntryType::Regular), ("a", EntryType::Regular)]);
        let refused = read(&twice[..], temp.path(), &Task::new());
        assert!(matches!(refused, Err(ArchiveError::File { .. })), "{refused:?}");
        let noise = read(&b"no archive at all"[..], temp.path(), &Task::new());
        assert!(matches!(noise, Err(ArchiveError::NotPacked)), "{noise:?}");
        let nothing = read(io::empty(), temp.path(), &Task::new());
        assert!(matches!(nothing, Err(ArchiveError::Empty)), "{nothing:?}");
        let mut cut = twice;
        cut.truncate(cut.len() / 2);
        assert!(read(&cut[..], tempfile::tempdir().unwrap().path(), &Task::new()).is_err());
    }

    #[test]
    fn work_that_is_called_off_ends() {
        let temp = tempfile::tempdir().unwrap();
        let names = tree(temp.path());
        let task = Task::new();
        task.cancel();
        let written = write(open(temp.path(), &names), io::sink(), &task);
        assert!(matches!(written, Err(ArchiveError::Cancelled(_))), "{written:?}");
    }
}
