//! A reader of tar streams from anybody: layers of images, packages, root file systems.
//!
//! The invariant: the stream decides nothing but the bytes that come out. What is held in memory is bounded by [`Limits`]
//! and by what really came, never by what a header claims; every number is checked before it is used; a stream that is
//! cut off is an error. Names are bytes, and they are **not** made safe here: who writes files resolves them within its
//! own root.
//!
//! Read are the forms of Unix v7, POSIX ustar and pax, GNU tar (long names, large numbers, sparse files) and star.
//! They are written down in POSIX.1-2017 (XCU, *pax*, "Extended Description"), in the GNU tar manual ("Basic Tar Format",
//! "Storing Sparse Files") and in libarchive's tar(5). Where they leave a choice, the reader does what Go's `archive/tar`
//! does, because that is what image tools write and unpack layers with:
//!
//! - links, devices, folders and FIFOs carry no data, whatever their size field says; only a pax archive's hard link
//!   may, if no header follows it,
//! - a name that ends with `/` makes a folder of an entry of the old type NUL only,
//! - two zero blocks end the archive, and so does an end of the stream between two entries; one zero block alone is an error.
//!
//! More than Go is read: global pax headers count for all entries after them, LIBARCHIVE.xattr and ACLs become
//! extended attributes, an attribute may have an empty value, and a GNU volume label is passed over. Multi-volume
//! archives and incremental dumps are refused by name.

mod block;
mod body;
mod error;
mod extended;
mod input;
mod limits;
mod number;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;
mod xattr;

pub use error::{Bound, Name, Problem, TarError};
pub use limits::Limits;
pub use reader::Reader;

/// What a tar stream says of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it stands in the archive: absolute, with `..`, empty or not UTF-8 as it may be; without NUL.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: `0o7777` at most.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub atime: Option<Time>,
    pub ctime: Option<Time>,
    /// Names and values as Linux has them, each name once, in the archive's order. ACLs are among them as
    /// `system.posix_acl_access` and `system.posix_acl_default`.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// ACLs that name somebody without a number and are therefore not among the attributes.
    pub untold_acls: u32,
}

/// What an entry is, with what only such an entry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `size` in bytes with the holes of a sparse file.
    File {
        size: u64,
    },
    /// Another name of what `target` names at this point of the archive. `size` bytes of data may follow, which are
    /// those of the target.
    HardLink {
        target: Vec<u8>,
        size: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    Directory,
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// A moment, counted from 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Rounded down: half a second before 1970 is -1.
    pub seconds: i64,
    /// What is to be added to the seconds: below 1,000,000,000.
    pub nanoseconds: u32,
}
