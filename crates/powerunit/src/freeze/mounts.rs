//! What is mounted, from /proc/self/mountinfo (proc_pid_mountinfo(5)): a pure parser.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::mount_table::unescape;

/// A file system on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    /// `major:minor`, the same wherever it is mounted.
    device: String,
    pub(super) place: PathBuf,
}

/// Each file system on a disk that can be written to, once, the last mounted first: what is inside another, or on a file of
/// another, was mounted after it.
pub(super) fn writable_disks(mountinfo: &str) -> Vec<Mounted> {
    let mut seen = BTreeSet::new();
    let mut disks: Vec<Mounted> = mountinfo.lines().filter_map(parse).collect();
    disks.retain(|mounted| seen.insert(mounted.device.clone()));
    disks.reverse();
    disks
}

/// `36 35 98:0 /root /place options [field:value …] - type source super-options`
fn parse(line: &str) -> Option<Mounted> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(2);
    let (device, place) = (mount.next()?, mount.nth(1)?);
    let mut filesystem = filesystem.split(' ').skip(1);
    let (source, options) = (filesystem.next()?, filesystem.next()?);
    let writable = options.split(',').any(|option| option == "rw");
    (source.starts_with("/dev/") && writable).then(|| Mounted {
        device: device.to_owned(),
        place: unescape(place),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn disks_are_taken_once_and_the_inner_first() {
        let mountinfo = "22 1 0:20 / / ro,relatime - overlay overlay rw,lowerdir=/base\n\
            23 22 0:5 / /dev rw - devtmpfs devtmpfs rw,mode=755\n\
            30 22 254:32 / /srv rw,noatime shared:5 - ext4 /dev/vdc rw\n\
            31 22 254:48 / /ro ro - ext4 /dev/vdd ro\n\
            32 30 7:0 / /srv/my\\040disk rw - ext4 /dev/loop0 rw\n\
            33 22 254:32 /sub /again rw master:2 propagate_from:1 - ext4 /dev/vdc rw\n";
        let places: Vec<PathBuf> = writable_disks(mountinfo)
            .into_iter()
            .map(|mounted| mounted.place)
            .collect();
        assert_eq!(places, ["/srv/my disk", "/srv"].map(PathBuf::from));
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in "([0-9]{1,2} ){0,3}[0-9:/ a-z\\\\-]{0,60}( - [a-z/ ]{0,20})?") {
            let _ = writable_disks(&text);
        }
    }
}
