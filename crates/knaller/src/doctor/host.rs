//! What the host itself has to offer.

use std::fs::OpenOptions;
use std::io;

use super::{Check, Verdict};
use crate::vmm::kvm;
use crate::{Options, cgroup, disk, layout};

/// Free space below which machines soon have none, and cannot even start, in bytes.
const LITTLE: u64 = 2 << 30;
const TOO_LITTLE: u64 = 64 << 20;

/// Memory that one machine of the usual size takes, in MiB.
const USUAL_MIB: u64 = 256;

/// KVM is a matter of speed only: without it machines are emulated.
pub(super) fn kvm() -> Check {
    match kvm::usable() {
        Ok(()) => Check::ok("kvm", "/dev/kvm is usable"),
        Err(why) => {
            let found = format!("machines are emulated, which is slower: {why}");
            Check::bad("kvm", Verdict::Warning, found, why.remedy())
        }
    }
}

pub(super) fn tun() -> Check {
    let device = "/dev/net/tun";
    match OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Check::ok("tun", format!("{device} can be opened")),
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => "run: sudo chmod 666 /dev/net/tun",
                _ => "run: sudo modprobe tun",
            };
            Check::bad(
                "tun",
                Verdict::Failed,
                format!("{device} cannot be opened: {error}"),
                remedy,
            )
        }
    }
}

/// Whose folders they are was checked when they were opened.
pub(super) fn runtime_folder(options: &Options) -> Check {
    let folder = options.paths.runtime.display().to_string();
    let room = layout::longest_name(&options.paths);
    match room {
        0..12 => Check::bad(
            "runtime-folder",
            Verdict::Failed,
            format!("sockets in {folder} leave {room} bytes for a machine's name"),
            "set XDG_RUNTIME_DIR or KNALLER_RUNTIME to a folder with a shorter path",
        ),
        _ => Check::ok("runtime-folder", format!("{folder}, names up to {room} bytes")),
    }
}

pub(super) fn disk_space(options: &Options) -> Check {
    let folder = &options.paths.data;
    let shown = folder.display();
    match disk::available(folder) {
        Err(error) => {
            let found = format!("the space in {shown} is unknown: {error}");
            Check::bad("disk-space", Verdict::Warning, found, format!("run: df {shown}"))
        }
        Ok(free) => {
            let found = format!("{:.1} GiB free in {shown}", free as f64 / f64::from(1 << 30));
            let remedy = "make room, or set XDG_DATA_HOME to a larger disk";
            match free {
                0..TOO_LITTLE => Check::bad("disk-space", Verdict::Failed, found, remedy),
                TOO_LITTLE..LITTLE => Check::bad("disk-space", Verdict::Warning, found, remedy),
                _ => Check::ok("disk-space", found),
            }
        }
    }
}

pub(super) fn memory() -> Check {
    match crate::memory::available_mib() {
        None => Check::ok("memory", "the host does not say"),
        Some(free) if free < USUAL_MIB => {
            let found = format!("{free} MiB available, and a machine usually has {USUAL_MIB}");
            Check::bad(
                "memory",
                Verdict::Warning,
                found,
                "stop other machines or programs",
            )
        }
        Some(free) => Check::ok("memory", format!("{free} MiB available")),
    }
}

/// Machines run without, but not with a share of the CPUs.
pub(super) fn limits(options: &Options) -> Check {
    match cgroup::for_all_limits(options) {
        Ok(folder) => Check::ok("limits", format!("control groups in {}", folder.display())),
        Err(error) => Check {
            verdict: Verdict::Warning,
            ..Check::failed("limits", &error)
        },
    }
}
