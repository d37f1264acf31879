//! What the guest boots from, and the entropy it is given.

use serde::{Deserialize, Serialize};

use super::RateLimiter;

/// Kernel, initrd and boot arguments: the body of `PUT /boot-source`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct BootSourceConfig")]
pub struct BootSource {
    /// An ELF `vmlinux`; also a `bzImage` since 1.17 (`x86_64`), a PE `Image` on aarch64.
    pub kernel_image_path: String,
    /// Loaded beside the kernel when given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<String>,
    /// The kernel's command line; [`BootSource::DEFAULT_ARGS`] when absent. Firecracker adds `pci=off` (without PCI),
    /// `root=…` with `ro` or `rw` for a root device, and its devices' addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_args: Option<String>,
}

impl BootSource {
    /// The command line of a guest whose boot source names none (Firecracker's `DEFAULT_KERNEL_CMDLINE`).
    pub const DEFAULT_ARGS: &'static str =
        "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce";
}

/// A virtio-rng device: the body of `PUT /entropy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct EntropyDeviceConfig")]
pub struct EntropyDevice {
    /// Bytes and requests of randomness the guest may draw; without it, as many as it likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiter>,
}
