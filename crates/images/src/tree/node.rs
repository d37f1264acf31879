//! An inode, as it will be written.

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Time {
    /// Since the Unix epoch.
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// An extended attribute: its full name (`user.comment`) and its value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

/// What an inode has whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The twelve bits of permissions, setuid, setgid and sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) atime: Time,
    /// Each name once.
    pub(crate) xattrs: Vec<Xattr>,
}

/// Blocks of a file that follow one another, in the file and on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first one's number in the file.
    pub(crate) logical: u32,
    /// The first one's number on the disk.
    pub(crate) start: u32,
    pub(crate) blocks: u32,
}

/// Where a file's data lies. What no extent covers reads as zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Data {
    #[default]
    None,
    One(Extent),
    /// In the order of the file.
    Many(Box<[Extent]>),
}

impl Data {
    pub(crate) fn extents(&self) -> &[Extent] {
        match self {
            Self::None => &[],
            Self::One(extent) => std::slice::from_ref(extent),
            Self::Many(extents) => extents,
        }
    }
}

impl From<Vec<Extent>> for Data {
    fn from(extents: Vec<Extent>) -> Self {
        match *extents {
            [] => Self::None,
            [extent] => Self::One(extent),
            _ => Self::Many(extents.into_boxed_slice()),
        }
    }
}

/// What kind of inode it is, and what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Directory,
    File { size: u64, data: Data },
    Symlink { target: Box<[u8]> },
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// An inode. Its rarely used parts (extended attributes, a time of access that is not that of the last change) are kept
/// beside the nodes.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) body: Body,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(super) mtime_seconds: i64,
    pub(super) mtime_nanoseconds: u32,
    /// Names of a file, subfolders of a folder.
    pub(crate) links: u32,
}

impl Node {
    pub(crate) fn mtime(&self) -> Time {
        Time {
            seconds: self.mtime_seconds,
            nanoseconds: self.mtime_nanoseconds,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory)
    }
}
