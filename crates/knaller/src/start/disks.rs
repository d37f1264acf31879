//! The machine's disks, and what the guest is told of them. The invariant: a disk of the machine's own is made once and kept
//! over all its boots, and so is the base that its overlay belongs to.

use std::path::PathBuf;

use guest_protocol as guest;
use images::builtin::BaseImage;
use images::overlay::create_overlay;
use images::rootfs::Rootfs;
use images::{Task, rootfs};

use super::given;
use crate::layout::Files;
use crate::record::Record;
use crate::{Error, Options, Result, Root};

/// What an overlay has room for if the spec does not say, in MiB: it is sparse.
const OVERLAY_MIB: u64 = 8 * 1024;

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
pub(super) fn prepare(
    options: &Options,
    files: &Files,
    record: &Record,
    base: Option<&BaseImage>,
    task: &Task,
) -> Result<Disks> {
    match (&record.spec.root, base) {
        (Root::File(source), _) => {
            let path = files.rootfs();
            if !path.exists() {
                copy(source, &path, record.spec.disk_mib, task)?;
            }
            let root = guest::Root::Disk {
                disk: disk("vda", "ext4", false),
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
        (Root::Builtin | Root::Image(_), Some(base)) => {
            let path = files.overlay();
            if !path.exists() {
                let size = record
                    .spec
                    .disk_mib
                    .unwrap_or(OVERLAY_MIB)
                    .saturating_mul(1 << 20);
                create_overlay(&options.paths.data, &path, size, task)?;
            }
            let root = guest::Root::Overlay {
                base: disk("vda", base.filesystem, true),
                upper: disk("vdb", "ext4", false),
            };
            let base = Disk {
                id: "base",
                path: base.path.clone(),
                read_only: true,
            };
            Ok(Disks {
                disks: vec![
                    base,
                    Disk {
                        id: "overlay",
                        path,
                        read_only: false,
                    },
                ],
                root,
            })
        }
        _ => Ok(Disks {
            disks: Vec::new(),
            root: guest::Root::Initramfs,
        }),
    }
}

fn disk(device: &str, filesystem: &str, read_only: bool) -> guest::Disk {
    guest::Disk {
        device: device.to_owned(),
        filesystem: filesystem.to_owned(),
        read_only,
    }
}

fn copy(source: &std::path::Path, path: &std::path::Path, size_mib: Option<u64>, task: &Task) -> Result<()> {
    given::regular_file(source)?;
    // Under its name only when it is whole: a start that is called off must not leave half a disk to the next.
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    Rootfs::open(source)?.copy_to(&fresh, task)?;
    if let Some(size_mib) = size_mib {
        rootfs::grow(&fresh, size_mib.saturating_mul(1 << 20))?;
    }
    std::fs::rename(&fresh, path).map_err(Error::io("rename", &fresh))
}
