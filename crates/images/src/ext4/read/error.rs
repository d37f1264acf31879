use std::io;

use super::InodeNumber;
use crate::ext4::SuperblockError;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    #[error("its superblock is damaged: it says {0}")]
    Geometry(&'static str),
    #[error("it uses features of ext4 that are not supported (incompatible features {0:#x})")]
    Features(u32),
    #[error("it was not unmounted, and its journal has not been replayed since")]
    Journal,
    #[error("the descriptor of group {0} is damaged: it names an inode table outside the file system")]
    Group(u64),
    #[error("inode {inode}: {problem}")]
    Inode { inode: InodeNumber, problem: Problem },
    #[error("it cannot be read")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What is wrong with an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("there is none of that number")]
    Number,
    #[error("is not in use, but has a name")]
    Unused,
    #[error("is of no kind that there is (mode {0:#o})")]
    Kind(u16),
    #[error("has a size that no file can have ({0} bytes)")]
    Size(u64),
    #[error("is encrypted or kept in a way that is not supported (flags {0:#x})")]
    Flags(u32),
    #[error("its map of blocks is damaged")]
    Extents,
    #[error("has more pieces than the 1,048,576 that are read")]
    Fragments,
    #[error("its data is in a block outside the file system")]
    Block,
    #[error("is no folder")]
    NotDirectory,
    #[error("is a folder with an entry that is damaged")]
    Entry,
    #[error("is a folder with a name that no file can have")]
    Name,
    #[error("is a folder that has one name twice")]
    Twice,
    #[error("is a folder of more than the 1,048,576 names that are read")]
    Names,
    #[error("is a symbolic link with a target that no link can have")]
    Target,
    #[error("its extended attributes are damaged")]
    Xattrs,
    #[error("has an access control list that is none")]
    Acl,
}

impl Problem {
    pub(super) fn of(self, inode: InodeNumber) -> ReadError {
        ReadError::Inode { inode, problem: self }
    }
}
