//! aarch64: QEMU's `virt` machine.
//!
//! The guest's serial console is a PL011 (`ttyAMA0`), where Firecracker has a 16550 (`ttyS0`); there is no keyboard,
//! so no Ctrl-Alt-Del, as in Firecracker.

use crate::qemu::accel::Accel;

/// The program that emulates this architecture.
pub const QEMU: &str = "qemu-system-aarch64";
/// Virtio-mmio transports of the `virt` machine.
pub const MAX_VIRTIO_DEVICES: usize = 32;
/// Devices beside virtio ones, as values of `-device`.
pub const LEGACY_DEVICES: &[&str] = &[];
/// Whether the guest has a keyboard that Ctrl-Alt-Del can be pressed on.
pub const HAS_KEYBOARD: bool = false;
/// Whether a vCPU can have a second hardware thread.
pub const HAS_SMT: bool = false;
/// What Firecracker boots with when no `boot_args` are given (`boot_source.rs`).
pub const DEFAULT_BOOT_ARGS: &str =
    "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce";
/// Longest kernel command line Firecracker takes, in bytes, its final NUL included.
pub const MAX_BOOT_ARGS: usize = 2048;

/// The virtio-mmio transport of a device, by its place among the devices.
#[must_use]
pub fn virtio_slot(place: usize) -> usize {
    place
}

/// The machine, as the first part of the value of `-machine`.
#[must_use]
pub fn machine(accel: Accel) -> &'static str {
    match accel {
        Accel::Kvm => "virt,gic-version=host",
        Accel::Tcg => "virt",
    }
}

/// The processor, as the value of `-cpu`.
#[must_use]
pub fn cpu(accel: Accel) -> &'static str {
    match accel {
        Accel::Kvm => "host",
        Accel::Tcg => "max",
    }
}

/// The host's processor, where the guest has what it has.
#[must_use]
pub fn processor(accel: Accel) -> Option<String> {
    let wanted = [
        "CPU implementer",
        "CPU variant",
        "CPU part",
        "CPU revision",
        "Features",
    ];
    (accel == Accel::Kvm).then(|| super::of_cpuinfo(&wanted))
}

/// The architected timer tells the guest its frequency: nothing to say.
#[must_use]
pub fn clock_args(_accel: Accel, _clock: &Clock) -> Option<String> {
    None
}

/// Nothing need be known of the host's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock;

impl Clock {
    /// Reads nothing.
    #[must_use]
    pub fn start() -> Self {
        Self
    }
}
