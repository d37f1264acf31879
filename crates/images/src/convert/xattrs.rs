//! Which of an entry's extended attributes the image keeps, and what they say about its permissions.

use super::error::Problem;
use crate::acl::{ACCESS, Acl, DEFAULT};
use crate::ext4::write::xattrs_fit;
use crate::tar::{Entry, Kind};
use crate::tree::Xattr;

/// What is kept of an entry.
pub(super) struct Kept {
    pub(super) xattrs: Vec<Xattr>,
    pub(super) mode: u16,
    /// How many were not.
    pub(super) left_out: u64,
}

/// Sorts an entry's extended attributes, as setxattr(2) would on ext4: one that an inode of this kind cannot have is left out.
/// An access control list decides the mode; one that says no more than the mode is not kept.
pub(super) fn keep(entry: &Entry) -> Result<Kept, Problem> {
    let symlink = matches!(entry.kind, Kind::Symlink { .. });
    let mut kept = Kept {
        xattrs: Vec::new(),
        mode: if symlink { 0o777 } else { entry.mode & 0o7777 },
        left_out: entry.untold_acls.into(),
    };
    if matches!(entry.kind, Kind::HardLink { .. }) {
        return Ok(kept);
    }
    for (name, value) in &entry.xattrs {
        if !is_kept(name, &entry.kind) {
            kept.left_out += 1;
            continue;
        }
        if name == ACCESS || name == DEFAULT {
            let list = Acl::from_xattr(value).ok_or(Problem::Acl)?;
            if name == ACCESS {
                kept.mode = kept.mode & 0o7000 | list.mode();
                if list.is_minimal() {
                    continue;
                }
            }
        }
        // The last of one name counts.
        kept.xattrs.retain(|(there, _)| there != name);
        kept.xattrs.push((name.clone(), value.clone()));
    }
    if xattrs_fit(&kept.xattrs) {
        Ok(kept)
    } else {
        Err(Problem::Xattrs)
    }
}

fn is_kept(name: &[u8], kind: &Kind) -> bool {
    let directory = matches!(kind, Kind::Directory);
    match name {
        ACCESS => !matches!(kind, Kind::Symlink { .. }),
        DEFAULT => directory,
        // It is the host's policy that labels files, and the guest's overlay that these steer.
        b"security.selinux" => false,
        name if name.starts_with(b"trusted.overlay.") => false,
        name if name.starts_with(b"user.") => {
            name.len() > 5 && (directory || matches!(kind, Kind::File { .. }))
        }
        name => [&b"trusted."[..], b"security."]
            .iter()
            .any(|prefix| name.strip_prefix(*prefix).is_some_and(|rest| !rest.is_empty())),
    }
}
