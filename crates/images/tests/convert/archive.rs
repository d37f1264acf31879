//! Archives of any entries, in pax form with a record for each field, so that every value has a place.

/// Seconds and nanoseconds since 1970.
pub(crate) type Time = (i64, u32);

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Directory,
    /// Pieces of data, by their offset in the file, and its size. All of it in one piece makes no sparse file.
    File {
        size: u64,
        pieces: Vec<(u64, Vec<u8>)>,
    },
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// An entry of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) what: What,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) atime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry of root's that is like most.
    pub(crate) fn new(path: impl Into<Vec<u8>>, what: What) -> Self {
        Self {
            path: path.into(),
            mode: if what == What::Directory { 0o755 } else { 0o644 },
            what,
            uid: 0,
            gid: 0,
            mtime: (1_600_000_000, 0),
            atime: None,
            xattrs: Vec::new(),
        }
    }

    pub(crate) fn file(path: impl Into<Vec<u8>>, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        let size = data.len() as u64;
        Self::new(
            path,
            What::File {
                size,
                pieces: vec![(0, data)],
            },
        )
    }

    pub(crate) fn directory(path: impl Into<Vec<u8>>) -> Self {
        Self::new(path, What::Directory)
    }

    pub(crate) fn symlink(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self::new(path, What::Symlink(target.into()))
    }

    pub(crate) fn link(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self::new(path, What::HardLink(target.into()))
    }

    pub(crate) fn xattr(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.xattrs.push((name.into(), value.into()));
        self
    }

    /// The entry's blocks.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut add = |key: &str, value: &[u8]| records.extend(record(key.as_bytes(), value));
        add("path", &self.path);
        add("uid", self.uid.to_string().as_bytes());
        add("gid", self.gid.to_string().as_bytes());
        add("mtime", decimal(self.mtime).as_bytes());
        if let Some(atime) = self.atime {
            add("atime", decimal(atime).as_bytes());
        }
        let mut data = Vec::new();
        let flag = match &self.what {
            What::Directory => b'5',
            What::Fifo => b'6',
            What::HardLink(target) => {
                add("linkpath", target);
                b'1'
            }
            What::Symlink(target) => {
                add("linkpath", target);
                b'2'
            }
            What::CharDevice(..) => b'3',
            What::BlockDevice(..) => b'4',
            What::File { size, pieces } => {
                let is_whole = match &**pieces {
                    [] => *size == 0,
                    [(0, piece)] => piece.len() as u64 == *size,
                    _ => false,
                };
                if !is_whole {
                    let map = pieces
                        .iter()
                        .map(|(offset, piece)| format!("{offset},{}", piece.len()));
                    let mut map: Vec<String> = map.collect();
                    if map.is_empty() {
                        map.push(format!("{size},0"));
                    }
                    add("GNU.sparse.size", size.to_string().as_bytes());
                    add("GNU.sparse.numblocks", map.len().to_string().as_bytes());
                    add("GNU.sparse.map", map.join(",").as_bytes());
                }
                data = pieces.iter().flat_map(|(_, piece)| piece.clone()).collect();
                b'0'
            }
        };
        for (name, value) in &self.xattrs {
            records.extend(record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value));
        }
        let device = match self.what {
            What::CharDevice(major, minor) | What::BlockDevice(major, minor) => (major, minor),
            _ => (0, 0),
        };
        [
            block(b'x', 0o644, (0, 0), &records),
            block(flag, self.mode, device, &data),
        ]
        .concat()
    }
}

/// All entries as one tar stream.
pub(crate) fn archive<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.into_iter().flat_map(Entry::bytes).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A header with its data.
fn block(flag: u8, mode: u16, (major, minor): (u32, u32), data: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"entry");
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\x000000000\0");
    put(124, format!("{:011o}\0", data.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[flag]);
    put(257, b"ustar\x0000");
    put(329, format!("{major:07o}\0{minor:07o}\0").as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// A pax record, whose length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest + 1..).find(|length| length.to_string().len() + rest == *length);
    let mut bytes = format!("{} ", length.unwrap()).into_bytes();
    bytes.extend_from_slice(key);
    bytes.push(b'=');
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
    bytes
}

fn decimal((seconds, nanoseconds): Time) -> String {
    if seconds < 0 && nanoseconds > 0 {
        format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
    } else {
        format!("{seconds}.{nanoseconds:09}")
    }
}
