//! x86_64: QEMU's `microvm` machine.
//!
//! ACPI stays on: it is the only way a kernel without `CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES` (Debian's) finds its
//! virtio-mmio devices. The i8042 is there for Ctrl-Alt-Del, and because a reboot by `reboot=k` without it takes
//! 1.5 s longer.

mod cpuid;
pub mod tsc;

use crate::qemu::accel::Accel;

/// The program that emulates this architecture.
pub const QEMU: &str = "qemu-system-x86_64";
/// Virtio devices the machine has room for: the lines of `microvm`'s second IO-APIC but the first. QEMU's IO-APIC takes
/// line 0 for line 2 (`ioapic_set_irq`, meant for the timer of the first IO-APIC), and does so in the second as well: a
/// device in transport 0 never interrupts.
pub const MAX_VIRTIO_DEVICES: usize = 23;
/// Devices beside virtio ones, as values of `-device`.
pub const LEGACY_DEVICES: &[&str] = &["i8042"];
/// Whether the guest has a keyboard that Ctrl-Alt-Del can be pressed on.
pub const HAS_KEYBOARD: bool = true;
/// Whether a vCPU can have a second hardware thread.
pub const HAS_SMT: bool = true;
/// What Firecracker boots with when no `boot_args` are given (`boot_source.rs`).
pub const DEFAULT_BOOT_ARGS: &str =
    "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce";
/// Longest kernel command line Firecracker takes, in bytes, its final NUL included.
pub const MAX_BOOT_ARGS: usize = 2048;

/// The virtio-mmio transport of a device, by its place among the devices. The guest finds them from the last to the
/// first, the order in which QEMU's ACPI table lists them.
#[must_use]
pub fn virtio_slot(place: usize) -> usize {
    MAX_VIRTIO_DEVICES.saturating_sub(place)
}

/// The machine, as the first part of the value of `-machine`.
#[must_use]
pub fn machine(accel: Accel) -> &'static str {
    match accel {
        Accel::Kvm | Accel::Tcg => "microvm,acpi=on,rtc=on",
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
    (accel == Accel::Kvm).then(cpuid::text)
}

/// What the guest must be told about its clock on the kernel command line.
///
/// Under TCG a guest calibrates its TSC against an emulated timer and hangs before its first output when the host
/// is busy (8 of 8 boots with three busy loops); given the frequency it does not try. It would then watch the TSC by
/// its ticks, of which a busy host loses some, and end by telling the time by those ticks: up to a quarter too slow.
/// The TSC is the host's own and need not be watched. With KVM the guest has kvm-clock.
#[must_use]
pub fn clock_args(accel: Accel, clock: &Clock) -> Option<String> {
    match accel {
        Accel::Kvm => None,
        Accel::Tcg => Some(format!("tsc_early_khz={} tsc=reliable", tsc::khz(&clock.0))),
    }
}

/// When the process started, by the processor's clock and by the kernel's: the longer ago, the better the
/// frequency that follows from both.
#[derive(Debug, Clone, Copy)]
pub struct Clock(tsc::Sample);

impl Clock {
    /// Reads both clocks.
    #[must_use]
    pub fn start() -> Self {
        Self(tsc::Sample::take())
    }
}
