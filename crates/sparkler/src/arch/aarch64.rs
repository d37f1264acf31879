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
    (accel == Accel::Kvm).then(|| {
        let (features, more) = rustix::param::linux_hwcap();
        format!("{:x} {features:x} {more:x}", identification(features))
    })
}

/// The register MIDR_EL1: maker, variant, part, revision. 0 where the kernel lets no program read it. `/proc/cpuinfo`,
/// which has the same in words, is not there in a jail.
fn identification(features: usize) -> u64 {
    /// Linux: Documentation/arch/arm64/elf_hwcaps.rst.
    const HWCAP_CPUID: usize = 1 << 11;
    if features & HWCAP_CPUID == 0 {
        return 0;
    }
    let register: u64;
    // SAFETY: the kernel answers this read for programs where it says HWCAP_CPUID
    // (Documentation/arch/arm64/cpu-feature-registers.rst); it changes nothing.
    unsafe {
        std::arch::asm!("mrs {}, midr_el1", out(reg) register, options(nomem, nostack, preserves_flags))
    };
    register
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
