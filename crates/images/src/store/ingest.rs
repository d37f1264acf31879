//! Blobs that come in.
//!
//! The invariant: bytes get a blob's name only after all of them were digested and are on the disk. Who fetches a digest holds
//! the lock on its part; nobody else writes to that.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Adding, INGEST, ROOTFS, Store, StoreError};
use crate::files::{Lock, LockKind, ReadError, StageError, Staging, Writeback};
use crate::oci::{Algorithm, Digest, Hasher};
use crate::task::Task;

const PART: &str = ".part";
/// Starts the name of a part whose digest is not known before its end.
const NEW: &str = "new-";
/// How long a part of a broken download waits for somebody to go on with it.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
const BUFFER: usize = 1 << 20;

/// A blob in the making. Dropped before [`BlobWriter::commit`] it is gone, unless it was made to [`BlobWriter::keep`].
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    /// On the part. `None` once that has its name.
    part: Option<Lock>,
    expected: Option<Digest>,
    /// More than this many bytes are not taken.
    limit: u64,
    written: u64,
    hasher: Hasher,
    writeback: Writeback,
    keep: bool,
}

impl Adding {
    /// Makes ready to write the blob `digest` of `size` bytes, where that is known. Waits while somebody else writes
    /// it. `None`: it is there.
    ///
    /// What a download that broke has left is in the writer already: [`BlobWriter::offset`] says where to go on.
    ///
    /// # Errors
    /// `task` is called off, or the part cannot be read or written.
    pub fn blob(
        &self,
        digest: &Digest,
        size: Option<u64>,
        task: &Task,
    ) -> Result<Option<BlobWriter>, StoreError> {
        let store = &self.store;
        let is_there = || {
            store
                .blob_size(digest)
                .is_some_and(|there| size.is_none_or(|size| size == there))
        };
        if is_there() {
            return Ok(None);
        }
        let name = format!("{}-{}{PART}", digest.algorithm().as_str(), digest.hex());
        let part = Lock::wait(&store.root.join(INGEST).join(name), LockKind::Exclusive, task)?;
        if is_there() {
            part.remove().map_err(|source| store.ingest_error(source))?;
            return Ok(None);
        }
        let mut writer = BlobWriter::new(store, part, Some(digest.clone()), size.unwrap_or(u64::MAX));
        writer.digest_part(task)?;
        Ok(Some(writer))
    }

    /// Makes ready to write a blob whose digest is not known yet.
    ///
    /// # Errors
    /// The part cannot be made.
    pub fn new_blob(&self) -> Result<BlobWriter, StoreError> {
        let store = &self.store;
        let folder = store.root.join(INGEST);
        loop {
            let mut random = [0; 16];
            // Blocks only before the system has its first entropy.
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
                .map_err(|error| store.ingest_error(error.into()))?;
            let path = folder.join(format!("{NEW}{}{PART}", hex::encode(random)));
            if let Some(part) = Lock::try_take(&path, LockKind::Exclusive)? {
                return Ok(BlobWriter::new(store, part, None, u64::MAX));
            }
        }
    }

    /// Stores a small blob: a manifest or a configuration.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let mut writer = self.new_blob()?;
        writer.add(bytes)?;
        Ok(writer.commit()?.0)
    }
}

impl BlobWriter {
    fn new(store: &Store, part: Lock, expected: Option<Digest>, limit: u64) -> Self {
        let algorithm = expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        Self {
            store: store.clone(),
            part: Some(part),
            expected,
            limit,
            written: 0,
            hasher: Hasher::new(algorithm),
            writeback: Writeback::default(),
            keep: false,
        }
    }

    /// How many bytes there are, from the blob's first on.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.written
    }

    /// Lets a part stay that is dropped before its end, for a later download to go on with.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Forgets what there is: the source cannot go on from its middle.
    ///
    /// # Errors
    /// The part cannot be cut.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        if let Some(part) = &self.part {
            let cut = part.file().set_len(0).and_then(|()| part.file().rewind());
            cut.map_err(|source| self.broken(source))?;
        }
        self.hasher = Hasher::new(self.algorithm());
        self.writeback = Writeback::default();
        self.written = 0;
        Ok(())
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// The disk is full, or these are more bytes than the blob has.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.written.saturating_add(bytes.len() as u64);
        if written > self.limit {
            self.keep = false;
            return Err(self.wrong_size(written));
        }
        let part = self
            .part
            .as_ref()
            .map_or(Ok(()), |part| part.file().write_all_at(bytes, self.written));
        part.map_err(|source| self.broken(source))?;
        if let Some(part) = &self.part {
            self.writeback.written(part.file(), written);
        }
        self.hasher.update(bytes);
        self.written = written;
        Ok(())
    }

    /// Checks what was written and gives it its name; says its digest and size.
    ///
    /// # Errors
    /// It is not what was to come (and is gone), or cannot be brought to the disk.
    pub fn commit(mut self) -> Result<(Digest, u64), StoreError> {
        if self.limit != u64::MAX && self.written != self.limit {
            return Err(self.wrong_size(self.written));
        }
        let found = std::mem::replace(&mut self.hasher, Hasher::new(Algorithm::Sha256)).finish();
        if let Some(expected) = self.expected.clone().filter(|expected| *expected != found) {
            self.keep = false;
            return Err(StoreError::Mismatch { expected, found });
        }
        let target = self.store.blob_path(&found);
        if let Some(part) = &self.part {
            part.file()
                .sync_data()
                .and_then(|()| fs::rename(part.path(), &target))
                .map_err(|source| self.broken(source))?;
        }
        self.part = None;
        Ok((found, self.written))
    }

    fn algorithm(&self) -> Algorithm {
        self.expected
            .as_ref()
            .map_or(Algorithm::Sha256, Digest::algorithm)
    }

    /// Brings the digest up to what the part holds.
    fn digest_part(&mut self, task: &Task) -> Result<(), StoreError> {
        let Some(part) = &self.part else { return Ok(()) };
        let broken = |source| ReadError::Io {
            path: part.path().to_owned(),
            source,
        };
        let size = part.file().metadata().map_err(broken)?.len();
        if size > self.limit {
            return self.restart();
        }
        let mut file = part.file();
        file.seek(SeekFrom::Start(0)).map_err(broken)?;
        let mut buffer = vec![0; BUFFER.min(usize::try_from(size).unwrap_or(BUFFER))];
        while self.written < size {
            task.at("reading what was downloaded before", self.written, Some(size))?;
            let count = file.read(&mut buffer).map_err(broken)?;
            if count == 0 {
                break;
            }
            self.hasher.update(buffer.get(..count).unwrap_or_default());
            self.written = self.written.saturating_add(count as u64);
        }
        Ok(())
    }

    /// Of the part.
    pub(super) fn path(&self) -> PathBuf {
        let part = self.part.as_ref();
        part.map_or_else(|| self.store.root.join(INGEST), |part| part.path().to_owned())
    }

    fn broken(&self, source: io::Error) -> StoreError {
        let needed = if self.limit == u64::MAX { 0 } else { self.limit };
        StageError::new(&self.path(), needed, source).into()
    }

    fn wrong_size(&self, found: u64) -> StoreError {
        match &self.expected {
            Some(digest) => StoreError::Size {
                digest: digest.clone(),
                expected: self.limit,
                found,
            },
            None => self.broken(io::ErrorKind::FileTooLarge.into()),
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let Some(part) = self.part.take() else { return };
        if self.keep && self.written > 0 {
            return;
        }
        let path = part.path().to_owned();
        if let Err(error) = part.remove() {
            tracing::warn!(path = %path.display(), %error, "a part of a blob is left");
        }
    }
}

impl Store {
    /// Removes what crashed programs left and nobody can use.
    pub(super) fn clean(&self) -> Result<(), StoreError> {
        for folder in [self.root.clone(), self.root.join(ROOTFS)] {
            Staging::clean(&folder)?;
        }
        for path in self.parts()? {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if !name.starts_with(NEW.as_bytes()) && !is_stale(&path) {
                continue;
            }
            if let Some(part) = Lock::try_take(&path, LockKind::Exclusive)? {
                part.remove().map_err(|source| self.ingest_error(source))?;
                tracing::info!(path = %path.display(), "removed what a crash or a broken download left");
            }
        }
        Ok(())
    }

    /// All parts, whoever writes them.
    pub(super) fn parts(&self) -> Result<impl Iterator<Item = PathBuf>, StoreError> {
        let names = self.names(INGEST)?.into_iter();
        let folder = self.root.join(INGEST);
        Ok(names
            .filter(|name| name.ends_with(PART))
            .map(move |name| folder.join(name)))
    }

    fn ingest_error(&self, source: io::Error) -> StoreError {
        let path: PathBuf = self.root.join(INGEST);
        StageError::new(&path, 0, source).into()
    }
}

fn is_stale(path: &Path) -> bool {
    let modified = path.symlink_metadata().and_then(|metadata| metadata.modified());
    // A time in the future is no reason to remove it.
    modified.is_ok_and(|modified| {
        SystemTime::now()
            .duration_since(modified)
            .is_ok_and(|age| age > STALE)
    })
}
