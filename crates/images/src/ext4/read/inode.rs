//! Inodes: their fields as Linux shows them.

use std::fmt;

use super::bytes::{joined, short, word};
use super::geometry::OLD_INODE;
use super::{Filesystem, Image, Problem, ReadError};

/// The target of a link that is kept in the inode is shorter than the inode's map of blocks.
const SHORT_LINK: u64 = 60;
/// What Linux lets a file be: 16 TiB with blocks of 4 KiB.
const MAX_SIZE: u64 = 1 << 44;

pub(super) const ENCRYPTED: u32 = 0x800;
pub(super) const EXTENTS: u32 = 0x8_0000;
pub(super) const VALUE: u32 = 0x20_0000;
pub(super) const INLINE: u32 = 0x1000_0000;

/// An inode's number, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeNumber(pub u32);

impl InodeNumber {
    /// The root folder's.
    pub const ROOT: Self = Self(2);
}

impl fmt::Display for InodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment, counted from 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Rounded down: half a second before 1970 is -1.
    pub seconds: i64,
    /// What is to be added to the seconds: below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    Symlink,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
    Socket,
}

/// An inode. What it holds is asked of its [`Filesystem`].
#[derive(Clone, Debug)]
pub struct Inode {
    pub number: InodeNumber,
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: `0o7777` at most.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// In bytes; of no meaning for devices, FIFOs and sockets.
    pub size: u64,
    /// Names, as it counts them.
    pub links: u16,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub(super) flags: u32,
    /// The map of blocks, a short link's target, a device's number, or data.
    pub(super) fields: [u8; 60],
    /// Attributes kept in the inode.
    pub(super) behind: Vec<u8>,
    /// The block of more attributes; 0: none.
    pub(super) xattr_block: u64,
}

impl<I: Image + ?Sized> Filesystem<'_, I> {
    /// Reads an inode.
    ///
    /// # Errors
    /// There is none of this number, it is not in use, or it is damaged.
    pub fn inode(&self, number: InodeNumber) -> Result<Inode, ReadError> {
        let bytes = self.raw_inode(number)?;
        let inode = Inode::parse(number, &bytes).map_err(|problem| problem.of(number))?;
        Ok(inode)
    }

    /// A symbolic link's target: 1 to 4,095 bytes, or up to what a block holds.
    ///
    /// # Errors
    /// It is no link, or damaged.
    pub fn target(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        let damaged = || Problem::Target.of(inode.number);
        let length = usize::try_from(inode.size)
            .ok()
            .filter(|length| *length > 0 && *length <= 4096);
        let length = length.ok_or_else(damaged)?;
        if inode.kind != Kind::Symlink {
            return Err(damaged());
        }
        let target = if inode.flags & (EXTENTS | INLINE) == 0 && inode.size < SHORT_LINK {
            inode.fields.get(..length).ok_or_else(damaged)?.to_vec()
        } else {
            let mut target = Vec::with_capacity(length);
            let mut contents = self.contents(inode)?;
            std::io::Read::read_to_end(&mut contents, &mut target)?;
            target
        };
        if target.contains(&0) {
            return Err(damaged());
        }
        Ok(target)
    }
}

impl Inode {
    fn parse(number: InodeNumber, bytes: &[u8]) -> Result<Self, Problem> {
        let short = |at| short(bytes, at).unwrap_or_default();
        let word = |at| word(bytes, at).unwrap_or_default();
        let format = short(0x00);
        let links = short(0x1a);
        if format == 0 || links == 0 {
            return Err(Problem::Unused);
        }
        let mut fields = [0; 60];
        if let Some(there) = bytes.get(0x28..0x64) {
            fields.copy_from_slice(there);
        }
        let kind = kind(format, &fields)?;
        let flags = word(0x20);
        if flags & ENCRYPTED != 0 {
            return Err(Problem::Flags(flags));
        }
        let size = joined(word(0x6c), word(0x04));
        if size > MAX_SIZE && matches!(kind, Kind::File | Kind::Directory | Kind::Symlink) {
            return Err(Problem::Size(size));
        }
        // How many bytes of fields follow the old ones.
        let extra = match bytes.len() {
            OLD_INODE => 0,
            _ => usize::from(short(0x80)),
        };
        let behind = bytes.get(OLD_INODE + extra..).ok_or(Problem::Xattrs)?;
        let time = |at, more: usize| {
            let there = more + 4 <= OLD_INODE + extra;
            time(word(at), if there { word(more) } else { 0 })
        };
        Ok(Self {
            number,
            kind,
            mode: format & 0o7777,
            uid: u32::from(short(0x78)) << 16 | u32::from(short(0x02)),
            gid: u32::from(short(0x7a)) << 16 | u32::from(short(0x18)),
            size,
            links,
            atime: time(0x08, 0x8c),
            ctime: time(0x0c, 0x84),
            mtime: time(0x10, 0x88),
            flags,
            fields,
            behind: if extra == 0 { Vec::new() } else { behind.to_vec() },
            xattr_block: joined(short(0x76), word(0x68)),
        })
    }
}

fn kind(format: u16, fields: &[u8; 60]) -> Result<Kind, Problem> {
    let (old, new) = (
        word(fields, 0).unwrap_or_default(),
        word(fields, 4).unwrap_or_default(),
    );
    // Of sixteen bits as they always were, or of 32 (include/linux/kdev_t.h).
    let (major, minor) = if old == 0 {
        (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00)
    } else {
        (old >> 8 & 0xff, old & 0xff)
    };
    Ok(match format >> 12 {
        0x1 => Kind::Fifo,
        0x2 => Kind::CharDevice { major, minor },
        0x4 => Kind::Directory,
        0x6 => Kind::BlockDevice { major, minor },
        0x8 => Kind::File,
        0xa => Kind::Symlink,
        0xc => Kind::Socket,
        _ => return Err(Problem::Kind(format)),
    })
}

/// Seconds of 32 bits with a sign, two more bits of them, and nanoseconds.
fn time(seconds: u32, more: u32) -> Time {
    Time {
        seconds: i64::from(seconds.cast_signed()) + (i64::from(more & 3) << 32),
        nanoseconds: (more >> 2).min(999_999_999),
    }
}
