use std::io::{self, Read, Write};

use super::{BLOCK, HEADER, MAGIC, MAX_NAME, TRAILER, kind, padding};

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(
        "{name:?} cannot be a name in an initramfs: it must be relative, without empty, . or .. parts, and shorter than {MAX_NAME} bytes"
    )]
    Name { name: String },
    #[error("{name} is too large for an initramfs: {size} bytes, and a cpio entry holds 4 GiB at most")]
    Size { name: String, size: u64 },
    #[error("{name} ended after {got} of {size} bytes: it changed while it was read")]
    Short { name: String, got: u64, size: u64 },
    #[error("the archive has 4 billion entries")]
    Entries,
    #[error("the archive could not be written")]
    Io(#[from] io::Error),
}

/// Writes entries to `W` as they come; nothing is held back.
///
/// All belong to root and carry the time 0. The kernel makes no folders by itself: write them before what they hold.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    written: u64,
    inode: u32,
}

/// The fields of a header that differ between entries.
struct Header {
    mode: u32,
    links: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            inode: 0,
        }
    }

    /// A folder; `mode` holds its permission bits.
    ///
    /// # Errors
    /// The name is refused or the output fails, here as in all other methods.
    pub fn directory(&mut self, name: &str, mode: u32) -> Result<(), WriteError> {
        let header = Header {
            mode: kind::DIRECTORY | mode,
            links: 2,
            size: 0,
            device: (0, 0),
        };
        self.entry(name, &header)
    }

    /// A character device of the kernel's numbers `major` and `minor` (`Documentation/admin-guide/devices.txt`).
    ///
    /// # Errors
    /// As in [`Writer::directory`].
    pub fn character_device(
        &mut self,
        name: &str,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> Result<(), WriteError> {
        let header = Header {
            mode: kind::CHARACTER_DEVICE | mode,
            links: 1,
            size: 0,
            device: (major, minor),
        };
        self.entry(name, &header)
    }

    /// A symbolic link to `target`, which is not checked.
    ///
    /// # Errors
    /// As in [`Writer::directory`].
    pub fn symlink(&mut self, name: &str, target: &str) -> Result<(), WriteError> {
        self.data(name, kind::SYMLINK | 0o777, target.as_bytes())
    }

    /// A file from memory.
    ///
    /// # Errors
    /// As in [`Writer::directory`], and for data of 4 GiB or more.
    pub fn file(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<(), WriteError> {
        self.data(name, kind::REGULAR | mode, data)
    }

    /// A file of exactly `size` bytes from a stream; what the stream holds beyond is not read.
    ///
    /// # Errors
    /// As in [`Writer::file`], and if `source` ends early.
    pub fn stream(
        &mut self,
        name: &str,
        mode: u32,
        size: u64,
        source: &mut dyn Read,
    ) -> Result<(), WriteError> {
        let short = u32::try_from(size).map_err(|_| WriteError::Size {
            name: name.to_owned(),
            size,
        })?;
        let header = Header {
            mode: kind::REGULAR | mode,
            links: 1,
            size: short,
            device: (0, 0),
        };
        self.entry(name, &header)?;
        let got = io::copy(&mut source.take(size), &mut self.out)?;
        self.written += got;
        if got != size {
            return Err(WriteError::Short {
                name: name.to_owned(),
                got,
                size,
            });
        }
        self.pad(4)
    }

    /// Ends the archive and gives the output back, flushed.
    ///
    /// # Errors
    /// The output fails.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.inode = 0;
        let header = Header {
            mode: 0,
            links: 1,
            size: 0,
            device: (0, 0),
        };
        self.header(TRAILER, 0, &header)?;
        self.pad(BLOCK)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn data(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<(), WriteError> {
        let size = u32::try_from(data.len()).map_err(|_| WriteError::Size {
            name: name.to_owned(),
            size: data.len() as u64,
        })?;
        self.entry(
            name,
            &Header {
                mode,
                links: 1,
                size,
                device: (0, 0),
            },
        )?;
        self.raw(data)?;
        self.pad(4)
    }

    fn entry(&mut self, name: &str, header: &Header) -> Result<(), WriteError> {
        let parts_are_fit = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !parts_are_fit || name.len() >= MAX_NAME || name.contains('\0') || name == TRAILER {
            return Err(WriteError::Name {
                name: name.to_owned(),
            });
        }
        self.inode = self.inode.checked_add(1).ok_or(WriteError::Entries)?;
        self.header(name, self.inode, header)
    }

    fn header(&mut self, name: &str, inode: u32, header: &Header) -> Result<(), WriteError> {
        // Checked by the caller: below MAX_NAME.
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        let fields = [
            inode,
            header.mode,
            0, // owner: root
            0, // group: root
            header.links,
            0, // time: 1970
            header.size,
            0, // device the entry lies on
            0,
            header.device.0,
            header.device.1,
            name_size,
            0, // checksum: none in this form
        ];
        let mut bytes = Vec::with_capacity(HEADER + name.len() + 4);
        bytes.extend_from_slice(MAGIC);
        for field in fields {
            write!(bytes, "{field:08x}")?;
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        self.raw(&bytes)?;
        self.pad(4)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, step: u64) -> Result<(), WriteError> {
        let missing = padding(self.written, step);
        io::copy(&mut io::repeat(0).take(missing), &mut self.out)?;
        self.written += missing;
        Ok(())
    }
}
