//! What a machine's VMM has in its jail. The invariant: files of its own alone are writable, and what it writes into the
//! folders that it shares with this program is trusted by nobody.

use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use super::disks::Disk;
use super::means::Means;
use super::way::Way;
use crate::jail::{Access, Entry, Plan};
use crate::layout::Files;
use crate::vmm::Chosen;
use crate::{Error, Result};

/// What is known before the disks are there.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    vmm: Chosen,
    network: bool,
    home: PathBuf,
    own: Vec<Entry>,
}

impl Inside {
    pub(super) fn new(files: &Files, means: &Means, way: &Way) -> Self {
        let mut own = vec![
            entry(files.runtime.clone(), Access::Sockets),
            entry(files.handover(), Access::Files),
            entry(files.vmm_log(), Access::Write),
        ];
        let guest = match way {
            Way::Cold | Way::Making(_) => [means.kernel.clone(), means.initrd.clone()],
            Way::Warm(template) => [template.state(), template.memory()],
            Way::Restored(held) => [held.state(), held.memory()],
        };
        own.extend(guest.map(|path| entry(path, Access::Read)));
        Self {
            vmm: means.vmm.clone(),
            network: means.connection.is_some(),
            home: files.runtime.clone(),
            own,
        }
    }

    /// All of it. Blocks: programs are asked what they load.
    pub(super) fn plan(self, disks: &[Disk]) -> Result<Plan> {
        let needs = self.vmm.needs(self.network);
        let mut entries = needs.map_err(Error::system("see what the VMM loads"))?;
        entries.extend(self.own);
        entries.extend(disks.iter().map(|disk| entry(disk.path.clone(), access(disk))));
        // Two programs may load the same library.
        entries.sort();
        entries.dedup();
        Ok(Plan::new(self.home, entries))
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

fn entry(path: PathBuf, access: Access) -> Entry {
    Entry { path, access }
}
