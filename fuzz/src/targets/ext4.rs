//! Images of ext4 file systems: all that can be asked of one.

use std::collections::HashSet;
use std::io::Read;

use images::ext4::read::{Filesystem, InodeNumber};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(filesystem) = Filesystem::open(bytes) else {
        return;
    };
    let (mut seen, mut pending) = (HashSet::new(), vec![InodeNumber::ROOT]);
    while let Some(number) = pending.pop() {
        if seen.len() > 200 || !seen.insert(number) {
            continue;
        }
        let Ok(inode) = filesystem.inode(number) else {
            continue;
        };
        assert!(inode.mtime.nanoseconds < 1_000_000_000 && inode.mode <= 0o7777);
        let _ = filesystem.xattrs(&inode);
        if let Ok(target) = filesystem.target(&inode) {
            assert!(!target.is_empty() && !target.contains(&0));
        }
        if let Ok(extents) = filesystem.extents(&inode) {
            assert!(extents.is_sorted_by_key(|extent| extent.logical));
        }
        if let Ok(contents) = filesystem.contents(&inode) {
            let _ = contents.take(1 << 20).read_to_end(&mut Vec::new());
        }
        if let Ok(entries) = filesystem.directory(&inode) {
            pending.extend(entries.into_iter().map(|entry| entry.inode));
        }
    }
}
