//! What overlayfs writes into extended attributes (fs/overlayfs/overlayfs.h).

use crate::ext4::read::{Inode, Kind};

const PREFIX: &[u8] = b"trusted.overlay.";

type Xattr = (Vec<u8>, Vec<u8>);

/// The marks of one inode, and its other attributes.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Nothing of the base is in this folder.
    pub(super) is_opaque: bool,
    /// Files in this folder may be whiteouts by their attribute.
    pub(super) has_file_whiteouts: bool,
    /// This file is one.
    is_file_whiteout: bool,
    /// Where in the base the contents are: a path from the root, or a name in the parent's folder there.
    pub(super) redirect: Option<Vec<u8>>,
    /// The data is that of the base's file.
    pub(super) is_without_data: bool,
    /// All attributes that are not overlayfs's own.
    pub(super) others: Vec<Xattr>,
}

impl Marks {
    pub(super) fn new(xattrs: Vec<Xattr>) -> Self {
        let mut marks = Self::default();
        for (name, value) in xattrs {
            match name.strip_prefix(PREFIX) {
                None => marks.others.push((name, value)),
                Some(b"opaque") => {
                    marks.is_opaque = value == b"y";
                    marks.has_file_whiteouts = value == b"x";
                }
                Some(b"whiteout") => marks.is_file_whiteout = true,
                Some(b"redirect") => marks.redirect = Some(value),
                Some(b"metacopy") => marks.is_without_data = true,
                // Where it was copied from, and what speeds up the kernel.
                Some(_) => {}
            }
        }
        marks
    }

    /// Whether an inode with these marks, in a folder with those, says that a name is gone.
    pub(super) fn is_whiteout(&self, inode: &Inode, folder: &Self) -> bool {
        let is_device = is_whiteout_device(inode);
        is_device || folder.has_file_whiteouts && self.is_file_whiteout && inode.kind == Kind::File
    }
}

/// The usual whiteout; in the base too no such device is seen through overlayfs.
pub(super) fn is_whiteout_device(inode: &Inode) -> bool {
    inode.kind == Kind::CharDevice { major: 0, minor: 0 }
}
