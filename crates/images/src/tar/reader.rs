use std::io::Read;

use super::block::{Block, is_header};
use super::body::Body;
use super::error::{Bound, Name, Problem, TarError};
use super::extended::{Extended, Globals};
use super::input::Input;
use super::sparse::{self, SparseFile};
use super::{Entry, Kind, Limits};

/// Reads the entries of a tar stream in their order, each with its data.
///
/// ```
/// use images::tar::{Kind, Limits, Reader};
///
/// # fn main() -> Result<(), images::tar::TarError> {
/// # let stream: &[u8] = &[0; 1024];
/// let mut reader = Reader::new(stream, &Limits::default());
/// while let Some(entry) = reader.next()? {
///     if let Kind::File { size } = entry.kind {
///         // Set the file's length to `size`; what no data comes for is a hole.
///         while let Some((offset, bytes)) = reader.data()? {
///             // Write `bytes` at `offset`.
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Reader<R> {
    input: Input<R>,
    limits: Limits,
    globals: Globals,
    body: Body,
    /// Where the header of the current entry stands.
    header_at: u64,
    name: Option<Name>,
    headers: u64,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Failed,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("header_at", &self.header_at)
            .field("name", &self.name)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    pub fn new(input: R, limits: &Limits) -> Self {
        Self {
            input: Input::new(input, limits.total),
            limits: limits.clone(),
            globals: Globals::default(),
            body: Body::default(),
            header_at: 0,
            name: None,
            headers: 0,
            state: State::Reading,
        }
    }

    /// The next entry, passing over what was not read of the last one's data. `None`: the archive ends here; what follows
    /// is for [`finish`](Self::finish).
    ///
    /// # Errors
    /// The stream is damaged, cut off, beyond the limits, or of a form that is not read; after that it gives nothing more.
    // It cannot be an iterator: the data of an entry is read between two calls.
    #[expect(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry>, TarError> {
        self.guarded(Self::read_entry)
    }

    /// How many bytes [`data`](Self::data) is still to give of the current entry: without holes, as its header says.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.body.stored()
    }

    /// The next bytes of the current entry, and where in the file they belong, in rising order: the parts of a sparse file
    /// that no bytes come for are holes. `None`: there is no more.
    ///
    /// # Errors
    /// The stream is cut off or cannot be read.
    pub fn data(&mut self) -> Result<Option<(u64, &[u8])>, TarError> {
        if self.state == State::Failed {
            return Err(self.error(Problem::GivenUp));
        }
        match self.body.some(&mut self.input) {
            Ok(some) => Ok(some),
            Err(problem) => {
                self.state = State::Failed;
                Err(TarError {
                    offset: self.header_at,
                    entry: self.name.clone(),
                    problem,
                })
            }
        }
    }

    /// Reads on to the end of the input, whatever follows the archive there, so that who checks the input has seen all of it.
    ///
    /// # Errors
    /// The input cannot be read, or is longer than the limit.
    pub fn finish(mut self) -> Result<R, TarError> {
        self.guarded(|reader| {
            while !reader.input.some(u64::MAX)?.is_empty() {}
            Ok(())
        })?;
        Ok(self.input.into_inner())
    }

    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Problem>) -> Result<T, TarError> {
        if self.state == State::Failed {
            return Err(self.error(Problem::GivenUp));
        }
        work(self).map_err(|problem| {
            self.state = State::Failed;
            self.error(problem)
        })
    }

    fn error(&self, problem: Problem) -> TarError {
        TarError {
            offset: self.header_at,
            entry: self.name.clone(),
            problem,
        }
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, Problem> {
        self.body.skip(&mut self.input)?;
        if self.state == State::Ended {
            return Ok(None);
        }
        let mut extended = Extended {
            records: self.globals.records.clone(),
            ..Extended::default()
        };
        loop {
            let Some(header) = self.header()? else {
                self.state = State::Ended;
                return if extended.is_pending {
                    Err(Problem::Dangling)
                } else {
                    Ok(None)
                };
            };
            if !extended.take(&header, &mut self.globals, &mut self.input, &self.limits)? {
                return self.entry(&header, extended).map(Some);
            }
        }
    }

    /// The next header; `None` at the archive's end.
    fn header(&mut self) -> Result<Option<Block>, Problem> {
        self.header_at = self.input.offset();
        self.name = None;
        let Some(bytes) = self.input.block()? else {
            return Ok(None);
        };
        if is_zero(&bytes) {
            return match self.input.block()? {
                Some(second) if !is_zero(&second) => Err(Problem::LoneZeroBlock),
                _ => Ok(None),
            };
        }
        let header = Block::new(bytes)?;
        self.name = Some(Name(header.path()));
        self.headers += 1;
        Bound::Headers.check(self.headers, self.limits.headers)?;
        Ok(Some(header))
    }

    fn entry(&mut self, header: &Block, extended: Extended) -> Result<Entry, Problem> {
        let Extended {
            mut records,
            long_path,
            long_link,
            ..
        } = extended;
        let path = long_path.or(records.path.take()).unwrap_or_else(|| header.path());
        let link = long_link.or(records.link.take()).unwrap_or_else(|| header.link());
        self.name = Some(Name(path.clone()));

        let (access, change) = header.access_and_change();
        let mut entry = Entry {
            path,
            kind: Kind::Directory,
            mode: header.mode()?,
            uid: id(records.uid.map_or_else(|| header.uid(), Ok)?, "the user id")?,
            gid: id(records.gid.map_or_else(|| header.gid(), Ok)?, "the group id")?,
            mtime: records.mtime.map_or_else(|| header.mtime(), Ok)?,
            atime: records.atime.or(access),
            ctime: records.ctime.or(change),
            xattrs: Vec::new(),
            untold_acls: 0,
        };
        let stored = records.size.map_or_else(|| header.size(), Ok)?;
        entry.kind = match header.type_flag() {
            0 if entry.path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => {
                let announced = std::mem::take(&mut records.sparse);
                let sparse = if header.type_flag() == b'S' {
                    Some(sparse::old_gnu(header, &mut self.input, &self.limits)?)
                } else {
                    announced.file(stored, &mut self.input, &self.limits)?
                };
                let size = self.begin(stored, sparse, &mut entry.path)?;
                Kind::File { size }
            }
            b'1' => Kind::HardLink {
                target: self.target(link, self.limits.path, Bound::Path)?,
                size: self.begin_link(stored)?,
            },
            b'2' => Kind::Symlink {
                target: self.target(link, self.limits.symlink, Bound::Symlink)?,
            },
            b'3' | b'4' => {
                let (major, minor) = header.device()?;
                let major = device(records.device_major.unwrap_or(major))?;
                let minor = device(records.device_minor.unwrap_or(minor))?;
                if header.type_flag() == b'3' {
                    Kind::CharDevice { major, minor }
                } else {
                    Kind::BlockDevice { major, minor }
                }
            }
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'M' => return Err(Problem::Unsupported("files continued from another volume")),
            b'D' => return Err(Problem::Unsupported("folders of incremental dumps")),
            b'N' => return Err(Problem::Unsupported("the oldest GNU tar's long names")),
            other => return Err(Problem::UnknownType(other)),
        };
        Bound::Path.check_len(entry.path.len(), self.limits.path)?;
        let (xattrs, untold) = records.into_xattrs(&self.limits)?;
        (entry.xattrs, entry.untold_acls) = (xattrs.into_list(), untold);
        Ok(entry)
    }

    /// Makes ready a file's data of `stored` bytes; gives the file's size.
    fn begin(&mut self, stored: u64, sparse: Option<SparseFile>, path: &mut Vec<u8>) -> Result<u64, Problem> {
        let Some(sparse) = sparse else {
            Bound::File.check(stored, self.limits.file)?;
            self.body = Body::new(vec![(0, stored)], stored);
            return Ok(stored);
        };
        if let Some(name) = &sparse.name {
            path.clone_from(name);
            self.name = Some(Name(name.clone()));
        }
        Bound::File.check(sparse.size, self.limits.file)?;
        sparse.check(stored)?;
        self.body = Body::new(sparse.pieces, stored.saturating_sub(sparse.map_bytes));
        Ok(sparse.size)
    }

    /// Makes ready a hard link's data, if it has any: only pax archives may carry it, and there are writers that name a size
    /// and store nothing, which Go's reader takes for granted.
    fn begin_link(&mut self, stored: u64) -> Result<u64, Problem> {
        if stored == 0 || !self.globals.is_pax {
            return Ok(0);
        }
        let next = self.input.peek()?;
        if next.is_none_or(|block| is_zero(&block) || is_header(&block)) {
            return Ok(0);
        }
        self.begin(stored, None, &mut Vec::new())
    }

    fn target(&self, target: Vec<u8>, limit: usize, bound: Bound) -> Result<Vec<u8>, Problem> {
        if target.is_empty() {
            return Err(Problem::NoTarget);
        }
        bound.check_len(target.len(), limit)?;
        Ok(target)
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Linux has no user and no group 4,294,967,295: it means "leave as it is".
fn id(number: i64, what: &'static str) -> Result<u32, Problem> {
    u32::try_from(number)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or(Problem::Number(what))
}

fn device(number: i64) -> Result<u32, Problem> {
    u32::try_from(number).map_err(|_| Problem::Number("the device number"))
}
