//! Standing still for a snapshot, and going on: as the same machine, or as a new one that was made from it.
//!
//! The invariant: a machine that stands still goes on, whatever fails: when it is told to, when it hears that it is
//! somebody else by now, when nobody answers it in time, when the machine is to end, and when the worker that holds it
//! dies ([`undo`]). And it never goes on as a new machine before everything is the new machine's ([`renewal`]).

mod connections;
mod filesystems;
mod mounts;
mod processes;
mod renewal;
mod service;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use guest_protocol::Init;
use guest_protocol::control::Frozen;

use crate::console::chain;
use filesystems::Filesystems;
pub(crate) use service::{Order, Service};

/// How long processes have to stop. One that waits for a disk stops behind that.
const STOP: Duration = Duration::from_secs(5);

/// The machine does not stand still, and goes on.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Error(#[from] filesystems::Error);

/// A machine that stands still. Dropping it lets everything go on.
#[derive(Debug)]
struct Still {
    filesystems: Filesystems,
}

impl Still {
    /// Makes every process stand still but this one, PID 1 where that is powerunit's, and the kernel's; then the file
    /// systems. This takes time.
    fn begin(initramfs: &OwnedFd, init: Init) -> Result<(Self, Frozen), Error> {
        // Everything that needs a path is done while whoever may have to answer for it still runs.
        let (folders, errors) = filesystems::open(initramfs.as_fd());
        filesystems::write_out(&folders);
        let mut warnings: Vec<String> = errors.iter().map(|e| chain(e)).collect();
        let mut still = Self {
            filesystems: Filesystems::default(),
        };
        let own = std::process::id().cast_signed();
        let exempt: &[i32] = match init {
            Init::Image => &[own],
            Init::Powerunit | Init::Auto => &[own, 1],
        };
        let running = processes::freeze(exempt, Instant::now() + STOP);
        warnings.extend(running.iter().map(|e| chain(e)));
        let (filesystems, unfreezable) = Filesystems::freeze(folders)?;
        still.filesystems = filesystems;
        warnings.extend(unfreezable.iter().map(|e| chain(e)));
        let frozen = Frozen {
            warnings,
            generation_id: has_generation_id(Path::new("/sys/bus")),
        };
        Ok((still, frozen))
    }

    /// Lets files be written again, while no process can write to them yet.
    fn thaw_filesystems(&mut self) {
        self.filesystems.thaw();
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        self.filesystems.thaw();
        processes::thaw();
    }
}

/// Lets everything go on after a worker that died while the machine stood still. `initramfs` is the folder of the first root.
pub(crate) fn undo(initramfs: BorrowedFd<'_>) {
    filesystems::thaw_all(initramfs);
    processes::thaw();
}

/// Whether a driver has taken the VM Generation ID device, found through ACPI or the device tree (drivers/virt/vmgenid.c).
fn has_generation_id(buses: &Path) -> bool {
    ["acpi", "platform"].iter().any(|bus| {
        let driver = buses.join(bus).join("drivers/vmgenid");
        let entries = std::fs::read_dir(driver).into_iter().flatten().flatten();
        // A driver's folder has a link to each of its devices; another to its module.
        let mut links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        links.any(|link| link.file_name() != "module")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_generation_id_counts_with_its_device() {
        let buses = tempfile::tempdir().unwrap();
        assert!(!has_generation_id(buses.path()));
        let driver = buses.path().join("acpi/drivers/vmgenid");
        std::fs::create_dir_all(&driver).unwrap();
        std::fs::write(driver.join("bind"), "").unwrap();
        symlink("../../../../module/vmgenid", driver.join("module")).unwrap();
        assert!(!has_generation_id(buses.path()));
        symlink("../../../../devices/VMGENCTR:00", driver.join("VMGENCTR:00")).unwrap();
        assert!(has_generation_id(buses.path()));
    }
}
