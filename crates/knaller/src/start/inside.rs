//! What a machine's VMM has in its jail. The invariant: files of its own alone are writable, and what it writes into the
//! folders that it shares with this program is trusted by nobody.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use super::disks::Disk;
use super::means::Means;
use super::way::Way;
use crate::jail::{self, Access, Entry, Plan};
use crate::layout::Files;
use crate::pager::{self, Permitted};
use crate::vmm::Chosen;
use crate::{Error, MemoryBackend, Result, keep};

/// What a VMM may write of a guest beside its memory, and round that up by, in MiB.
const BESIDE_MEMORY_MIB: u64 = 64;

/// What is known before the disks are there.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    vmm: Chosen,
    network: bool,
    home: PathBuf,
    memory_mib: u32,
    own: Vec<Entry>,
}

impl Inside {
    pub(super) fn new(files: &Files, means: &Means, way: &Way, memory_mib: u32) -> Self {
        let mut own = vec![
            entry(files.runtime.clone(), Access::Sockets),
            entry(files.handover(), Access::Files),
            entry(files.vmm_log(), Access::Write),
        ];
        let guest = match way {
            Way::Cold | Way::Making(_) => vec![means.kernel.clone(), means.initrd.clone()],
            Way::Warm(template) => vec![template.state(), template.memory()],
            Way::Restored(held, MemoryBackend::File) => vec![held.state(), held.memory()],
            Way::Restored(held, MemoryBackend::Userfault) => {
                if pager::permitted() == Some(Permitted::Device) {
                    own.push(entry(pager::DEVICE.into(), Access::Device));
                }
                vec![held.state()]
            }
        };
        own.extend(guest.into_iter().map(|path| entry(path, Access::Read)));
        Self {
            vmm: means.vmm.clone(),
            network: means.connection.is_some(),
            home: files.runtime.clone(),
            memory_mib,
            own,
        }
    }

    /// All of it, with what is handed over to `user`. Blocks: programs are asked what they load.
    pub(super) fn plan(self, disks: &[Disk], user: Option<u32>) -> Result<(Plan, Vec<OwnedFd>)> {
        let needs = self.vmm.needs(self.network);
        let mut entries = needs.map_err(Error::system("see what the VMM loads"))?;
        entries.extend(self.own);
        entries.extend(disks.iter().map(|disk| entry(disk.path.clone(), access(disk))));
        let file_size = longest(&entries, self.memory_mib);
        // Two programs may load the same library.
        entries.sort();
        entries.dedup();
        let plan = Plan::new(self.home, file_size, entries);
        let Some(user) = user else {
            return Ok((plan, Vec::new()));
        };
        let handed = jail::hand(plan.of_its_own_user(), user);
        handed.map_err(|error| Error::Jail {
            reason: error.to_string(),
        })
    }
}

fn access(disk: &Disk) -> Access {
    let device = disk.path.metadata();
    let device = device.is_ok_and(|metadata| metadata.file_type().is_block_device());
    match (device, disk.read_only) {
        (true, false) => Access::Disk,
        (true, true) => Access::ReadDisk,
        (false, false) => Access::Write,
        (false, true) => Access::Read,
    }
}

/// How long a file of the VMM's may become: its largest disk, its guest's memory in a snapshot, its logs. No device has
/// a length.
fn longest(entries: &[Entry], memory_mib: u32) -> u64 {
    let memory = (u64::from(memory_mib) + BESIDE_MEMORY_MIB) << 20;
    let disks = entries.iter().filter(|entry| entry.access == Access::Write);
    let lengths = disks.filter_map(|disk| Some(disk.path.metadata().ok()?.len()));
    lengths.fold(memory.max(keep::LONGEST), u64::max)
}

fn entry(path: PathBuf, access: Access) -> Entry {
    Entry { path, access }
}
