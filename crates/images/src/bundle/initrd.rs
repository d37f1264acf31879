//! The initrd of a bundle: its modules and a powerunit.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::{Bundle, manifest};
use crate::cpio::{WriteError, Writer};
use crate::files::{ReadError, StageError};
use crate::kernel::{Arch, program};

/// Why there is no initrd.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{path} is no program for {arch}: the guest's init must be one, linked statically")]
    NoProgram { path: PathBuf, arch: Arch },
    #[error(
        "{path} is linked dynamically, and there are no libraries in an initramfs: build powerunit with `cargo xtask guest`"
    )]
    Dynamic { path: PathBuf },
    #[error("{path} has {size} bytes: more than {MAX_INIT} are no init")]
    TooLarge { path: PathBuf, size: u64 },
    #[error("the initrd cannot be packed")]
    Cpio(#[from] WriteError),
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// A debug build of powerunit has about 100 MiB.
const MAX_INIT: u64 = 512 << 20;

/// How names of initrds, of links to them and of what is not ready start.
const INITRD: &str = "initrd-";
const STAMP: &str = "powerunit-";
const UNFINISHED: &str = ".new-";

/// An initrd that was not asked for this long is removed: it belongs to a powerunit that was built or installed over.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How stale the time of an initrd that is used may be.
const FRESH: Duration = Duration::from_secs(60 * 60);

impl Bundle {
    /// The initrd of this kernel with `powerunit` as its init: uncompressed, since unpacking costs the guest more than reading
    /// (sixfold). It is made when first asked for and kept beside the kernel until powerunit changes.
    ///
    /// What is returned stays in place for a day at least. Blocks; after the first time for less than a millisecond.
    ///
    /// # Errors
    /// `powerunit` is no static program for the kernel's architecture, or the disk is full.
    pub fn initrd(&self, powerunit: &Path) -> Result<PathBuf, InitrdError> {
        let (file, size) = crate::files::open(powerunit)?;
        let unreadable = |source| ReadError::new(powerunit, source);
        let metadata = file.metadata().map_err(unreadable)?;
        let stamp = self.folder.join(stamp_name(&metadata));
        if let Some(path) = self.stamped(&stamp) {
            return Ok(path);
        }
        if size > MAX_INIT {
            return Err(InitrdError::TooLarge {
                path: powerunit.to_owned(),
                size,
            });
        }
        let init = crate::files::read_open(file, powerunit, MAX_INIT)?;
        self.check(powerunit, &init)?;
        let name = format!("{INITRD}{}.cpio", short(&Sha256::digest(&init)));
        let path = self.folder.join(&name);
        if !path.is_file() {
            self.write(&path, &init)?;
        }
        // Where the file changed while it was read, what was read is used this once and not remembered for it.
        let unchanged = fs::metadata(powerunit).is_ok_and(|now| stamp_name(&now) == stamp_name(&metadata));
        if unchanged && !stamp.exists() {
            let broken = |source| StageError::new(&stamp, 0, source);
            let folder = tempfile::Builder::new()
                .prefix(UNFINISHED)
                .tempdir_in(&self.folder)
                .map_err(broken)?;
            let link = folder.path().join("link");
            symlink(&name, &link)
                .and_then(|()| fs::rename(&link, &stamp))
                .map_err(broken)?;
        }
        self.forget_old();
        Ok(path)
    }

    /// The initrd that `stamp` leads to, if it is still there; marked as used.
    fn stamped(&self, stamp: &Path) -> Option<PathBuf> {
        let target = fs::read_link(stamp).ok()?;
        let name = target
            .to_str()
            .filter(|name| name.starts_with(INITRD) && !name.contains('/'))?;
        let path = self.folder.join(name);
        let metadata = path.symlink_metadata().ok().filter(Metadata::is_file)?;
        if age(&metadata) > FRESH {
            let now = SystemTime::now();
            File::options()
                .append(true)
                .open(&path)
                .and_then(|file| file.set_modified(now))
                .ok()?;
        }
        Some(path)
    }

    fn check(&self, path: &Path, init: &[u8]) -> Result<(), InitrdError> {
        let arch = self.manifest.arch;
        match program(init) {
            Ok(program) if program.arch != arch => Err(InitrdError::NoProgram {
                path: path.to_owned(),
                arch,
            }),
            Ok(program) if program.dynamic => Err(InitrdError::Dynamic {
                path: path.to_owned(),
            }),
            Ok(_) => Ok(()),
            Err(_) => Err(InitrdError::NoProgram {
                path: path.to_owned(),
                arch,
            }),
        }
    }

    /// The kernel unpacks joined archives one after the other.
    fn write(&self, path: &Path, init: &[u8]) -> Result<(), InitrdError> {
        let modules = self.folder.join(manifest::MODULES);
        let (mut modules, size) = crate::files::open(&modules)?;
        let broken = |source| StageError::new(path, size + init.len() as u64, source);
        let file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&self.folder)
            .map_err(broken)?;
        let mut out = BufWriter::new(file);
        io::copy(&mut modules, &mut out).map_err(broken)?;
        let mut cpio = Writer::new(out);
        cpio.file("init", 0o755, init)?;
        let file = cpio
            .finish()?
            .into_inner()
            .map_err(|error| broken(error.into_error()))?;
        file.as_file().sync_all().map_err(broken)?;
        // Another process may have put the same bytes there meanwhile.
        file.persist(path).map_err(|error| broken(error.error))?;
        Ok(())
    }

    /// Removes what was not used for [`KEPT`]. Whatever fails here is tried again the next time.
    fn forget_old(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let (name, path) = (name.to_string_lossy(), entry.path());
            let ours = [INITRD, STAMP, UNFINISHED]
                .iter()
                .any(|prefix| name.starts_with(prefix));
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            let old = if metadata.is_symlink() {
                !path.exists()
            } else {
                age(&metadata) > KEPT
            };
            if ours && old {
                tracing::debug!(path = %path.display(), "removing what is no longer used");
                let _ = if metadata.is_dir() {
                    fs::remove_dir_all(&path)
                } else {
                    fs::remove_file(&path)
                };
            }
        }
    }
}

fn age(metadata: &Metadata) -> Duration {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    // A time in the future is new.
    modified.elapsed().unwrap_or_default()
}

/// The name of the link that stands for exactly this file in exactly this state. With the time of its last change (ctime),
/// which no program can set, so a file of the same size written over within a second is seen.
fn stamp_name(metadata: &Metadata) -> String {
    let state = [
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime().cast_unsigned(),
        metadata.mtime_nsec().cast_unsigned(),
        metadata.ctime().cast_unsigned(),
        metadata.ctime_nsec().cast_unsigned(),
    ];
    let bytes: Vec<u8> = state.iter().flat_map(|number| number.to_le_bytes()).collect();
    format!("{STAMP}{}", short(&Sha256::digest(bytes)))
}

/// Enough digits that no two meet by chance.
fn short(digest: &[u8]) -> String {
    hex::encode(digest.get(..16).unwrap_or(digest))
}
