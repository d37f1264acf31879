//! A root file system of the user's own: a raw ext4 file, copied for each VM.
//!
//! The invariant: the user's file is only read, and not while something that can be told writes to it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::ext4::{Superblock, SuperblockError, ToolError, run};
use crate::files::{Copied, CopyError, ReadError, StageError, copy_to_new, open};
use crate::task::Task;

/// Why a file is not taken as a root file system.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{path} is no file system that can be used")]
    Superblock { path: PathBuf, source: SuperblockError },
    #[error("{path} is cut off: it has {size} bytes, and the file system in it {needed}")]
    CutOff { path: PathBuf, size: u64, needed: u64 },
    #[error("{path} is in use by {by}: a copy made while it is written to would be damaged. Stop that first")]
    InUse { path: PathBuf, by: String },
    #[error("{path} was not unmounted cleanly or has errors. Run: e2fsck -f {path}")]
    Unclean { path: PathBuf },
}

/// A file that was found fit.
#[derive(Debug)]
pub struct Rootfs {
    file: File,
    superblock: Superblock,
}

impl Rootfs {
    /// Opens the file and checks that it is a whole ext4 file system that nothing writes to. One that has to be recovered from
    /// its journal is taken: the guest does that when it mounts it.
    ///
    /// # Errors
    /// It is not.
    pub fn open(path: &Path) -> Result<Self, RootfsError> {
        let (file, size) = open(path)?;
        let owned = || path.to_owned();
        let superblock = Superblock::read(&file)
            .map_err(|source| ReadError::new(path, source))?
            .map_err(|source| RootfsError::Superblock {
                path: owned(),
                source,
            })?;
        if superblock.size > size {
            return Err(RootfsError::CutOff {
                path: owned(),
                size,
                needed: superblock.size,
            });
        }
        if let Some(by) = writer(&file).or_else(|| loop_device(path)) {
            return Err(RootfsError::InUse { path: owned(), by });
        }
        if superblock.unclean || superblock.has_errors {
            return Err(RootfsError::Unclean { path: owned() });
        }
        Ok(Self { file, superblock })
    }

    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Copies it to the new file `path`: by sharing its blocks where the file system can, else its data without its holes.
    ///
    /// # Errors
    /// `path` is there, the disk is full, or `task` is called off. No file is left then, but one that was there.
    pub fn copy_to(&self, path: &Path, task: &Task) -> Result<Copied, CopyError> {
        copy_to_new(&self.file, path, task)
    }
}

/// Makes the file system in the file `path`, which nothing else uses, as large as `size` bytes.
///
/// # Errors
/// It is larger than that or no ext4 file system, e2fsprogs is missing, or the disk is full.
pub fn grow(path: &Path, size: u64) -> Result<(), GrowError> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(|source| ReadError::new(path, source))?;
    let length = file
        .metadata()
        .map_err(|source| ReadError::new(path, source))?
        .len();
    if size < length {
        return Err(GrowError::Shrinks {
            path: path.to_owned(),
            size: length,
            wanted: size,
        });
    }
    file.set_len(size)
        .map_err(|source| StageError::new(path, size, source))?;
    drop(file);
    // resize2fs wants a file system that was checked; e2fsck ends with 1 when it mended something (e2fsck(8)).
    let mended = |output: &std::process::Output| matches!(output.status.code(), Some(0 | 1));
    run(
        "e2fsck",
        [OsStr::new("-f"), OsStr::new("-p"), path.as_os_str()],
        &mended,
    )?;
    run("resize2fs", [path.as_os_str()], &|output| output.status.success())?;
    Ok(())
}

/// Why a file system could not be made larger.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("{path} has {size} bytes, and {wanted} are wanted: a file system is never made smaller")]
    Shrinks { path: PathBuf, size: u64, wanted: u64 },
}

/// The byte that QEMU locks in an image it writes to (`block/file-posix.c`: `RAW_LOCK_PERM_BASE`, and the bit of
/// `BLK_PERM_WRITE`).
const QEMU_WRITES: libc::off_t = 101;

/// Who holds a lock that says it writes to the file.
pub(crate) fn writer(file: &File) -> Option<String> {
    // SAFETY: flock is plain numbers, for which zeros are values.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK.try_into().ok()?;
    lock.l_whence = libc::SEEK_SET.try_into().ok()?;
    lock.l_start = QEMU_WRITES;
    lock.l_len = 1;
    // SAFETY: the descriptor is open, and the kernel writes to `lock` alone. (rustix has this call, but takes the -1 that
    // stands for a lock of no process for a broken process id, and panics.)
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
    let free = result != 0 || i32::from(lock.l_type) == libc::F_UNLCK;
    (!free).then(|| {
        if lock.l_pid > 0 {
            format!("process {}", lock.l_pid)
        } else {
            "QEMU".to_owned()
        }
    })
}

/// The loop device that writes to the file, if there is one.
pub(crate) fn loop_device(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let devices = fs::read_dir("/sys/block").ok()?;
    devices.flatten().find_map(|device| {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        let read_only = fs::read_to_string(device.path().join("ro")).ok()?;
        let same = Path::new(backing.trim_end_matches('\n')) == path && read_only.trim() == "0";
        same.then(|| format!("/dev/{}", device.file_name().display()))
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::FileExt;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::overlay::{MIN_SIZE, create_overlay};

    fn sample(folder: &Path) -> PathBuf {
        let path = folder.join("rootfs.ext4");
        create_overlay(&folder.join("data"), &path, MIN_SIZE, &Task::new()).unwrap();
        path
    }

    #[test]
    fn a_file_system_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = sample(folder.path());
        let copy = folder.path().join("copy.ext4");
        let rootfs = Rootfs::open(&path).unwrap();
        assert_eq!(rootfs.superblock().size, MIN_SIZE);
        rootfs.copy_to(&copy, &Task::new()).unwrap();
        assert!(fs::read(&path).unwrap() == fs::read(&copy).unwrap());
        assert!(matches!(
            rootfs.copy_to(&copy, &Task::new()),
            Err(CopyError::Exists { .. })
        ));
    }

    #[test]
    fn a_copy_grows_and_never_shrinks() {
        let folder = tempfile::tempdir().unwrap();
        let path = sample(folder.path());
        grow(&path, 2 * MIN_SIZE).unwrap();
        assert_eq!(Rootfs::open(&path).unwrap().superblock().size, 2 * MIN_SIZE);
        assert!(matches!(grow(&path, MIN_SIZE), Err(GrowError::Shrinks { .. })));
        grow(&path, 2 * MIN_SIZE).unwrap();
        assert_eq!(Rootfs::open(&path).unwrap().superblock().size, 2 * MIN_SIZE);
    }

    #[test]
    fn what_is_no_whole_file_system_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = sample(folder.path());
        let text = folder.path().join("text");
        fs::write(&text, "no disk").unwrap();
        assert!(matches!(Rootfs::open(&text), Err(RootfsError::Superblock { .. })));
        assert!(matches!(
            Rootfs::open(folder.path()),
            Err(RootfsError::Read(ReadError::NoFile { .. }))
        ));
        assert!(
            matches!(Rootfs::open(&folder.path().join("no")), Err(RootfsError::Read(error)) if error.is_absence())
        );

        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[2], 1024 + 0x3a).unwrap();
        assert!(matches!(Rootfs::open(&path), Err(RootfsError::Unclean { .. })));
        file.set_len(MIN_SIZE - 4096).unwrap();
        assert!(matches!(Rootfs::open(&path), Err(RootfsError::CutOff { .. })));
    }

    /// A process that does not outlive the test.
    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            self.0.kill().and_then(|()| self.0.wait()).unwrap();
        }
    }

    #[test]
    fn one_that_qemu_writes_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = sample(folder.path());
        for (option, refused) in [("read-only=on", false), ("read-only=off", true)] {
            let drive = format!(
                "driver=raw,node-name=disk,{option},file.driver=file,file.filename={}",
                path.display()
            );
            // Paused, but with a disk: only who has attached a device to it means to write.
            let (program, machine) = match std::env::consts::ARCH {
                "aarch64" => ("qemu-system-aarch64", "virt"),
                _ => ("qemu-system-x86_64", "microvm"),
            };
            let child = Command::new(program)
                .args([
                    "-machine",
                    machine,
                    "-accel",
                    "tcg",
                    "-S",
                    "-nodefaults",
                    "-display",
                    "none",
                ])
                .args([
                    "-qmp",
                    "stdio",
                    "-blockdev",
                    &drive,
                    "-device",
                    "virtio-blk-device,drive=disk",
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            let mut qemu = Killed(child.unwrap());
            // It answers once its devices are made.
            let mut commands = qemu.0.stdin.take().unwrap();
            commands
                .write_all(b"{\"execute\": \"qmp_capabilities\"}\n")
                .unwrap();
            let mut answers = BufReader::new(qemu.0.stdout.take().unwrap()).lines();
            assert!(
                answers.any(|line| line.unwrap().contains("\"return\"")),
                "QEMU did not start"
            );
            let opened = Rootfs::open(&path);
            drop(qemu);
            assert_eq!(
                matches!(opened, Err(RootfsError::InUse { .. })),
                refused,
                "{opened:?}"
            );
        }
        Rootfs::open(&path).unwrap();
    }
}
