//! The machine's disks, and what the guest is told of them.

use std::path::{Path, PathBuf};

use guest_protocol as guest;

use crate::layout::Files;
use crate::{Error, MachineSpec, Result, Root, disk};

/// A disk to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// The VMM's name for it.
    pub(super) id: &'static str,
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
}

/// The disks in order, and where the guest's `/` comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disks {
    pub(super) disks: Vec<Disk>,
    pub(super) root: guest::Root,
}

/// Makes the disks that the machine does not have yet. Blocks.
pub(super) fn prepare(files: &Files, spec: &MachineSpec) -> Result<Disks> {
    match &spec.root {
        Root::Initramfs => Ok(Disks {
            disks: Vec::new(),
            root: guest::Root::Initramfs,
        }),
        Root::File(source) => {
            let path = files.rootfs();
            copy(source, &path)?;
            let root = guest::Root::Disk {
                disk: ext4("vda", false),
            };
            Ok(Disks {
                disks: vec![Disk {
                    id: "rootfs",
                    path,
                    read_only: false,
                }],
                root,
            })
        }
        Root::Builtin => Err(Error::NoFile(files.overlay())),
    }
}

fn ext4(device: &str, read_only: bool) -> guest::Disk {
    guest::Disk {
        device: device.to_owned(),
        filesystem: "ext4".to_owned(),
        read_only,
    }
}

fn copy(source: &Path, target: &Path) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    std::fs::copy(source, target)
        .map(drop)
        .map_err(|e| disk::explain(Error::io("copy", source)(e), "copying it", target, 0))
}
