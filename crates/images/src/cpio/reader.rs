use super::{HEADER, MAGIC, MAX_NAME, TRAILER, padding};

/// Why bytes are not an archive. Offsets count from the start of the bytes that were given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("no cpio entry of the newc form at offset {offset}")]
    Magic { offset: usize },
    #[error("a field of the cpio header at offset {offset} is not hexadecimal")]
    Field { offset: usize },
    #[error("the cpio archive is cut off: the entry at offset {offset} goes on behind its end")]
    Truncated { offset: usize },
    #[error(
        "the name of the cpio entry at offset {offset} is empty, not UTF-8, not ended by NUL, or longer than {MAX_NAME} bytes"
    )]
    Name { offset: usize },
    #[error("the name {name:?} in the cpio archive leads out of it")]
    Escape { name: String },
    #[error("the cpio archive ends without its last entry, {TRAILER}")]
    NoTrailer,
}

/// One entry, borrowed from the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Relative, without `..`.
    pub name: &'a str,
    /// Kind ([`super::kind`]) and permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Major and minor number, of a device.
    pub device: (u32, u32),
    /// The file's content, or a link's target.
    pub data: &'a [u8],
}

/// Reads the entries of one archive, or of several joined ones, in order. It stops at the first error.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Before an archive or behind one: zeros are padding.
    Between,
    /// Behind an entry: the trailer must still come.
    Within,
    Done,
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            offset: 0,
            state: State::Between,
        }
    }

    fn read(&mut self) -> Result<Option<Entry<'a>>, ReadError> {
        loop {
            let rest = self.bytes.get(self.offset..).unwrap_or_default();
            if self.state == State::Between {
                match rest.iter().position(|byte| *byte != 0) {
                    Some(zeros) => self.offset += zeros,
                    None => return Ok(None),
                }
            } else if rest.is_empty() {
                return Err(ReadError::NoTrailer);
            }
            let entry = self.entry()?;
            if entry.name == TRAILER {
                self.state = State::Between;
                continue;
            }
            self.state = State::Within;
            let safe = !entry.name.starts_with('/') && entry.name.split('/').all(|part| part != "..");
            if !safe {
                return Err(ReadError::Escape {
                    name: entry.name.to_owned(),
                });
            }
            return Ok(Some(entry));
        }
    }

    fn entry(&mut self) -> Result<Entry<'a>, ReadError> {
        let offset = self.offset;
        let rest = self.bytes.get(offset..).unwrap_or_default();
        if !rest.starts_with(MAGIC) {
            return Err(ReadError::Magic { offset });
        }
        let header = rest
            .get(MAGIC.len()..HEADER)
            .ok_or(ReadError::Truncated { offset })?;
        let mut fields = [0u32; 13];
        for (field, digits) in fields.iter_mut().zip(header.chunks_exact(8)) {
            *field = hex(digits).ok_or(ReadError::Field { offset })?;
        }
        let [_, mode, uid, gid, _, _, size, _, _, major, minor, name_size, _] = fields;

        let name_size = name_size as usize;
        if name_size == 0 || name_size > MAX_NAME {
            return Err(ReadError::Name { offset });
        }
        let name = rest
            .get(HEADER..HEADER + name_size)
            .ok_or(ReadError::Truncated { offset })?;
        let (last, name) = name.split_last().ok_or(ReadError::Name { offset })?;
        let name = std::str::from_utf8(name).map_err(|_| ReadError::Name { offset })?;
        if *last != 0 || name.is_empty() || name.contains('\0') {
            return Err(ReadError::Name { offset });
        }

        // Entries are aligned from the start of all bytes: archives start at multiples of four.
        let data_at = align(offset + HEADER + name_size);
        let end = data_at
            .checked_add(size as usize)
            .ok_or(ReadError::Truncated { offset })?;
        let data = self
            .bytes
            .get(data_at..end)
            .ok_or(ReadError::Truncated { offset })?;
        self.offset = align(end);
        Ok(Entry {
            name,
            mode,
            uid,
            gid,
            device: (major, minor),
            data,
        })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Entry<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let read = self.read().transpose();
        if !matches!(read, Some(Ok(_))) {
            self.state = State::Done;
        }
        read
    }
}

fn align(offset: usize) -> usize {
    usize::try_from(padding(offset as u64, 4)).map_or(offset, |missing| offset.saturating_add(missing))
}

/// Exactly eight hexadecimal digits; `from_str_radix` alone would take a sign.
fn hex(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
