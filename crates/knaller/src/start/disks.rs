//! The machine's disks, and what the guest is told of them. The invariant: a disk of the machine's own is made once and kept
//! over all its boots, and so is the base that its overlay belongs to. A disk of its caller's is attached and no more.

use std::path::PathBuf;

use guest_protocol as guest;
use images::builtin::BaseImage;
use images::overlay::create_overlay;
use images::rootfs::Rootfs;
use images::{Task, rootfs};

use super::given;
use crate::layout::{self, Files};
use crate::record::Record;
use crate::template::Drive;
use crate::{Error, MachineSpec, Options, Paths, Result, Root, Volume, folder, volume};

/// What an overlay has room for if the spec does not say, in MiB: it is sparse.
const OVERLAY_MIB: u64 = 8 * 1024;

/// The VMM's names for the disks of a root.
const ROOTFS: &str = "rootfs";
const BASE: &str = "base";
const OVERLAY: &str = "overlay";

/// A disk to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// The VMM's name for it.
    pub(super) id: String,
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
}

/// The disks in order, and where the guest's `/` comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disks {
    pub(super) disks: Vec<Disk>,
    pub(super) root: guest::Root,
    /// Those that have a disk.
    pub(super) volumes: Vec<guest::Volume>,
}

impl Disks {
    /// A file system that is the whole root.
    fn alone(path: PathBuf, read_only: bool) -> Self {
        let root = guest::Root::Disk {
            disk: disk("vda", "ext4", read_only),
        };
        let id = ROOTFS.to_owned();
        Self {
            disks: vec![Disk { id, path, read_only }],
            root,
            volumes: Vec::new(),
        }
    }

    /// Attaches the volumes of the spec after all others.
    fn with_volumes(mut self, volumes: &[Volume], paths: &Paths) -> Self {
        for (number, volume) in volumes.iter().enumerate() {
            let device = device(self.disks.len());
            let path = volume::path(paths, &volume.source);
            self.disks.push(Disk {
                id: volume_id(number),
                // In the VMM's jail there are no links on the way to it, and no `..`.
                path: path.canonicalize().unwrap_or(path),
                read_only: volume.read_only,
            });
            self.volumes.push(guest::Volume {
                path: volume.path.clone(),
                source: guest::VolumeSource::Disk(disk(&device, "ext4", volume.read_only)),
                read_only: volume.read_only,
            });
        }
        self
    }
}

/// What the guest's kernel calls the disk that was attached after `before` others: there are never more than the alphabet has.
fn device(before: usize) -> String {
    let letter = u8::try_from(before).map_or('z', |before| char::from(b'a' + before.min(25)));
    format!("vd{letter}")
}

/// The drives of a machine of this spec, in the order in which [`prepare`] gives its disks.
pub(super) fn layout(spec: &MachineSpec) -> Vec<Drive> {
    let drive = |id: &str, read_only| Drive {
        id: id.to_owned(),
        read_only,
    };
    let root = match spec.root {
        Root::File(_) => vec![drive(ROOTFS, false)],
        Root::Raw(_) => vec![drive(ROOTFS, spec.read_only)],
        Root::Builtin | Root::Image(_) => vec![drive(BASE, true), drive(OVERLAY, false)],
        Root::Initramfs => Vec::new(),
    };
    let volumes = spec.volumes.iter().enumerate();
    let volumes = volumes.map(|(number, volume)| drive(&volume_id(number), volume.read_only));
    root.into_iter().chain(volumes).collect()
}

/// Links the disks where the VMM has them, in the place of what was linked there before.
pub(super) fn link(files: &Files, disks: &[Disk]) -> Result<()> {
    for disk in disks {
        let link = files.runtime.join(layout::drive(&disk.id));
        folder::remove_file(&link)?;
        std::os::unix::fs::symlink(&disk.path, &link).map_err(Error::io("link", &link))?;
    }
    Ok(())
}

fn volume_id(number: usize) -> String {
    format!("volume{number}")
}

/// Makes the disks that the machine does not have yet, but for those of its volumes. Blocks.
pub(super) fn prepare(
    options: &Options,
    files: &Files,
    record: &Record,
    base: Option<&BaseImage>,
    task: &Task,
) -> Result<Disks> {
    let disks = root(options, files, record, base, task)?;
    Ok(disks.with_volumes(&record.spec.volumes, &options.paths))
}

fn root(
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
            Ok(Disks::alone(path, false))
        }
        (Root::Raw(path), _) => {
            let path = path.canonicalize().map_err(Error::io("find", path))?;
            Ok(Disks::alone(path, record.spec.read_only))
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
                id: BASE.to_owned(),
                path: base.path.clone(),
                read_only: true,
            };
            Ok(Disks {
                disks: vec![
                    base,
                    Disk {
                        id: OVERLAY.to_owned(),
                        path,
                        read_only: false,
                    },
                ],
                root,
                volumes: Vec::new(),
            })
        }
        _ => Ok(Disks {
            disks: Vec::new(),
            root: guest::Root::Initramfs,
            volumes: Vec::new(),
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
