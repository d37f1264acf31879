//! What a VMM needs of the host's files, whatever machine it runs. The invariant: what is not in here, and not the machine's
//! own, is not to be seen in its jail.

use std::env::consts::ARCH;
use std::io;
use std::path::{Path, PathBuf};

use super::Chosen;
use crate::jail::{self, Access, Entry};

/// Where QEMU looks for firmware, from its program's folder (QEMU: `-L help`; SeaBIOS has a folder of its own on Debian and
/// Fedora).
const FIRMWARE: [&str; 3] = ["../share/qemu", "../share/seabios", "../share/qemu-firmware"];

/// What its `microvm` machine loads of it: the firmware and the one of two that starts the kernel. `virt` loads nothing.
const LOADED: [&str; 3] = ["bios-microvm.bin", "linuxboot_dma.bin", "pvh.bin"];

/// Devices that either opens, beside those that a machine asks for.
const DEVICES: [&str; 2] = ["/dev/null", "/dev/urandom"];

impl Chosen {
    /// Programs with what they load, and devices. Blocks, for some milliseconds.
    pub(crate) fn needs(&self, network: bool) -> io::Result<Vec<Entry>> {
        let mut entries = jail::loads(&self.program)?;
        if let Some(qemu) = &self.qemu {
            entries.extend(jail::loads(qemu)?);
            let folder = qemu.parent().unwrap_or(Path::new("/"));
            entries.extend(there(firmware(folder), Access::Read));
            if !self.kvm {
                entries.extend(there(translator(folder), Access::Run));
            }
        }
        let kvm = self.kvm.then_some("/dev/kvm");
        let tun = network.then_some("/dev/net/tun");
        let devices = DEVICES.into_iter().chain(kvm).chain(tun);
        entries.extend(devices.map(|path| Entry {
            path: path.into(),
            access: Access::Device,
        }));
        Ok(entries)
    }
}

fn firmware(folder: &Path) -> impl Iterator<Item = PathBuf> {
    FIRMWARE
        .iter()
        .flat_map(move |from| LOADED.map(|name| folder.join(from).join(name)))
}

/// TCG is a module where QEMU was built so, as Debian does (QEMU: `CONFIG_QEMU_MODDIR`).
fn translator(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let own = format!("../lib/{ARCH}-linux-gnu/qemu");
    [own.as_str(), "../lib/qemu", "../lib64/qemu"]
        .map(|from| folder.join(from).join(format!("accel-tcg-{ARCH}.so")))
        .into_iter()
}

/// Those that exist, under a path without `..`.
fn there(paths: impl Iterator<Item = PathBuf>, access: Access) -> impl Iterator<Item = Entry> {
    paths.filter_map(move |path| {
        let folder = path.parent()?.canonicalize().ok()?;
        let path = folder.join(path.file_name()?);
        path.exists().then_some(Entry { path, access })
    })
}
