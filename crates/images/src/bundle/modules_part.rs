//! `modules.cpio`: the part of the initrd that belongs to the kernel.

use std::io::{self, Write};

use crate::cpio::{WriteError, Writer};

/// Folders that the guest's init mounts on before it has anything else.
const MOUNT_POINTS: [&str; 4] = ["proc", "sys", "run", "mnt"];

/// Where init finds the modules, and their file names in load order, one a line.
const FOLDER: &str = "modules";

/// Writes the part; `read` gives a module's bytes by its name.
///
/// The device nodes are what a process needs before devtmpfs is mounted: without `/dev/console` the kernel starts init with
/// no standard output at all.
pub(super) fn write<W: Write, E: From<WriteError>>(
    out: W,
    order: &[String],
    mut read: impl FnMut(&str) -> Result<Vec<u8>, E>,
) -> Result<W, E> {
    let mut cpio = Writer::new(out);
    cpio.directory("dev", 0o755)?;
    cpio.character_device("dev/console", 0o600, 5, 1)?;
    cpio.character_device("dev/null", 0o666, 1, 3)?;
    for folder in MOUNT_POINTS {
        cpio.directory(folder, 0o755)?;
    }
    cpio.directory("root", 0o700)?;
    cpio.directory("tmp", 0o1777)?;
    cpio.directory(FOLDER, 0o755)?;
    let list: String = order.iter().map(|name| format!("{name}.ko\n")).collect();
    cpio.file(&format!("{FOLDER}/order"), 0o644, list.as_bytes())?;
    for name in order {
        cpio.file(&format!("{FOLDER}/{name}.ko"), 0o644, &read(name)?)?;
    }
    Ok(cpio.finish()?)
}

/// Counts and digests what passes.
pub(super) struct Digesting<W> {
    inner: W,
    digest: sha2::Sha256,
    size: u64,
}

impl<W: Write> Digesting<W> {
    pub(super) fn new(inner: W) -> Self {
        Self {
            inner,
            digest: sha2::Digest::new(),
            size: 0,
        }
    }

    /// The output, and what went into it.
    pub(super) fn finish(self) -> (W, super::Part) {
        let sha256 = hex::encode(sha2::Digest::finalize(self.digest));
        (
            self.inner,
            super::Part {
                size: self.size,
                sha256,
            },
        )
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        sha2::Digest::update(&mut self.digest, buffer.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
