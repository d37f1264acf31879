//! The end: everything written, unmounted in order, and the machine reset, which ends its VMM.
//!
//! The invariant: nothing here can keep the machine up. What cannot be unmounted is made read-only; what cannot even be
//! that has at least been written.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::system::RebootCommand;

use super::root::{BASE, ROOT, UPPER};
use super::switch::Below;
use crate::console::say;
use crate::mount_table::unescape;

/// Never comes back, unless the kernel refuses.
pub(super) fn off(below: Option<&Below>) {
    rustix::fs::sync();
    if let Some(below) = below {
        unmount(below);
    }
    rustix::fs::sync();
    crate::console::drain();
    // Firecracker, and sparkler with it, ends on a reset; a power-off is something it cannot see.
    if let Err(e) = rustix::system::reboot(RebootCommand::Restart) {
        say(&format!("the kernel does not restart the machine: {e}"));
    }
}

fn unmount(below: &Below) {
    if let Err(e) = below.back(ROOT) {
        say(&format!(
            "cannot leave the root file system: {}",
            crate::console::chain(&e)
        ));
        return make_read_only(Path::new("/"));
    }
    let mounts = std::fs::read_to_string(format!("{ROOT}/proc/self/mounts")).unwrap_or_default();
    for Mounted { target, disk } in order(&mounts) {
        if rustix::mount::unmount(&target, UnmountFlags::NOFOLLOW).is_ok() {
            continue;
        }
        if disk || is_disk(&target) {
            make_read_only(&target);
        }
        // Its users, PID 1's console among them, keep it; nobody finds it any more.
        let _ = rustix::mount::unmount(&target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}

fn make_read_only(target: &Path) {
    if let Err(e) = rustix::mount::mount_remount(target, MountFlags::RDONLY, c"") {
        say(&format!("{} stays writable: {e}", target.display()));
    }
}

fn is_disk(target: &Path) -> bool {
    [ROOT, BASE, UPPER].iter().any(|disk| target == Path::new(disk))
}

/// A file system that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mounted {
    target: PathBuf,
    /// It is on a device.
    disk: bool,
}

/// What is to be unmounted, first things first: the deeper before what they are in, the later before what they cover, and the
/// parts of an overlay after it. The kernel lists mounts in the order they were made in.
fn order(mounts: &str) -> Vec<Mounted> {
    let mounted = mounts.lines().filter_map(|line| {
        let (source, rest) = line.split_once(' ')?;
        let target = unescape(rest.split(' ').next()?);
        let disk = source.starts_with("/dev/");
        (target.starts_with(ROOT) || is_disk(&target)).then_some(Mounted { target, disk })
    });
    let mut mounted: Vec<Mounted> = mounted.collect();
    mounted.reverse();
    let part = |target: &Path| !target.starts_with(ROOT);
    mounted
        .sort_by_key(|Mounted { target, .. }| (part(target), std::cmp::Reverse(target.components().count())));
    mounted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_goes_first_and_the_disks_last() {
        let mounts = "rootfs / rootfs rw 0 0\nproc /sysroot/proc proc rw 0 0\n/dev/vda /base squashfs ro 0 0\n\
            /dev/vdb /upper ext4 rw 0 0\noverlay /sysroot overlay rw 0 0\ntmpfs /sysroot/my\\040disk tmpfs rw 0 0\n\
            /dev/vdc /sysroot/my\\040disk/deep ext4 rw 0 0\n";
        let expected = [
            ("/sysroot/my disk/deep", true),
            ("/sysroot/my disk", false),
            ("/sysroot/proc", false),
            ("/sysroot", false),
            ("/upper", true),
            ("/base", true),
        ];
        let expected = expected.map(|(target, disk)| Mounted {
            target: target.into(),
            disk,
        });
        assert_eq!(order(mounts), expected);
    }
}
