//! The initrd of a bundle: its modules and a powerunit.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Bundle, manifest};
use crate::cpio::{WriteError, Writer};
use crate::files::{
    ReadError, StageError, Staging, open, read_open, set_stamp, short_digest, stamp_name, stamped, touch,
};
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

/// How the names of initrds and of the stamps that lead to them start.
const INITRD: &str = "initrd-";
const STAMP: &str = "powerunit-";

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
        let (file, size) = open(powerunit)?;
        let unreadable = |source| ReadError::new(powerunit, source);
        let stamp = stamp_name(STAMP, &file.metadata().map_err(unreadable)?);
        if let Some((path, metadata)) = stamped(&self.folder, &stamp, INITRD) {
            if age(&metadata) > FRESH {
                touch(&path).map_err(|source| StageError::new(&path, 0, source))?;
            }
            return Ok(path);
        }
        if size > MAX_INIT {
            return Err(InitrdError::TooLarge {
                path: powerunit.to_owned(),
                size,
            });
        }
        let init = read_open(file, powerunit, MAX_INIT)?;
        self.check(powerunit, &init)?;
        let name = format!("{INITRD}{}.cpio", short_digest(&init));
        let path = self.folder.join(&name);
        if path.is_file() {
            touch(&path).map_err(|source| StageError::new(&path, 0, source))?;
        } else {
            self.write(&name, &init)?;
        }
        // Where the file changed while it was read, what was read is used this once and not remembered for it.
        if fs::metadata(powerunit).is_ok_and(|now| stamp_name(STAMP, &now) == stamp) {
            set_stamp(&self.folder, &stamp, &name)?;
        }
        self.forget_old();
        Ok(path)
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
    fn write(&self, name: &str, init: &[u8]) -> Result<(), InitrdError> {
        let (mut modules, size) = open(&self.folder.join(manifest::MODULES))?;
        let staging = Staging::new(&self.folder)?;
        let path = staging.path().join(name);
        let broken = |source| StageError::new(&path, size + init.len() as u64, source);
        let mut out = BufWriter::new(File::create_new(&path).map_err(broken)?);
        io::copy(&mut modules, &mut out).map_err(broken)?;
        let mut cpio = Writer::new(out);
        let packed = cpio.file("init", 0o755, init).and_then(|()| cpio.finish());
        packed.map_err(|error| match error {
            WriteError::Io(source) => broken(source).into(),
            other => InitrdError::Cpio(other),
        })?;
        // Where another process was quicker, the same bytes are there.
        staging.publish_file(name, name)?;
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
            let ours = name.starts_with(INITRD) || name.starts_with(STAMP);
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
                let _ = fs::remove_file(&path);
            }
        }
    }
}

fn age(metadata: &Metadata) -> Duration {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    // A time in the future is new.
    modified.elapsed().unwrap_or_default()
}
