//! What a guest needs of its kernel.

use std::collections::BTreeSet;

/// What a need is for: it decides what its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Disks and network are virtio devices: without them nothing works.
    Virtio,
    /// The config comes over vsock: without it the guest never learns what to be.
    Vsock,
    /// The overlay disk's file system.
    Ext4,
    /// A file system that some images need: noted in the bundle.
    FileSystem,
    /// Taken where it is there.
    Optional,
}

/// One driver or file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The module's name, as the kernel knows it.
    pub module: &'static str,
    /// The option that builds it.
    pub option: &'static str,
    /// A text that stands in a kernel it is linked into, between NULs, for where neither a configuration nor a list of
    /// built-in modules tells: a driver's, a file system's or a parameter's name.
    pub driver: &'static str,
    pub feature: Feature,
}

const fn need(module: &'static str, option: &'static str, driver: &'static str, feature: Feature) -> Need {
    Need {
        module,
        option,
        driver,
        feature,
    }
}

/// In load order. Loading modules is a fifth of a guest's start (0.4 s under emulation), so the guest loads only as many as it
/// needs to go on: up to vsock, over which it asks for its config; up to the network device; up to its root file system;
/// and the others once it is ready. Hence IPv6 stands before the network device, and virtio on PCI, which only a VMM
/// that was asked for it has, behind the file systems.
///
/// The last ones are what programs in a container expect (`/dev/net/tun` for VPNs, loop devices, FUSE) and what costs little:
/// 0.6 MiB of the guest's memory together, where netfilter's 2 MiB are left to images that bring their own.
pub const NEEDS: &[Need] = &[
    need(
        "virtio_mmio",
        "CONFIG_VIRTIO_MMIO",
        "virtio-mmio",
        Feature::Virtio,
    ),
    need(
        "vmw_vsock_virtio_transport",
        "CONFIG_VIRTIO_VSOCKETS",
        "vmw_vsock_virtio_transport",
        Feature::Vsock,
    ),
    need("ipv6", "CONFIG_IPV6", "TCPv6", Feature::Optional),
    need("virtio_net", "CONFIG_VIRTIO_NET", "virtio_net", Feature::Virtio),
    need("virtio_blk", "CONFIG_VIRTIO_BLK", "virtio_blk", Feature::Virtio),
    // ext4's metadata checksums ask for it by its alias, which no list of dependencies shows.
    need(
        "crc32c_generic",
        "CONFIG_CRYPTO_CRC32C",
        "crc32c-generic",
        Feature::Optional,
    ),
    need("ext4", "CONFIG_EXT4_FS", "ext4", Feature::Ext4),
    need(
        "overlay",
        "CONFIG_OVERLAY_FS",
        "overlay.redirect_max",
        Feature::FileSystem,
    ),
    need("squashfs", "CONFIG_SQUASHFS", "squashfs", Feature::FileSystem),
    need("erofs", "CONFIG_EROFS_FS", "erofs", Feature::FileSystem),
    need("virtio_pci", "CONFIG_VIRTIO_PCI", "virtio-pci", Feature::Optional),
    need(
        "virtio_rng",
        "CONFIG_HW_RANDOM_VIRTIO",
        "virtio_rng",
        Feature::Optional,
    ),
    need(
        "virtio_balloon",
        "CONFIG_VIRTIO_BALLOON",
        "virtio_balloon",
        Feature::Optional,
    ),
    need("af_packet", "CONFIG_PACKET", "PACKET", Feature::Optional),
    need("tun", "CONFIG_TUN", "tun", Feature::Optional),
    need("loop", "CONFIG_BLK_DEV_LOOP", "loop.max_loop", Feature::Optional),
    need("fuse", "CONFIG_FUSE_FS", "fuse.max_user_bgreq", Feature::Optional),
];

/// What modules among [`NEEDS`] are known to depend on. Nothing rests on this list; it saves reading a package a second time,
/// which has no list of dependencies of its own.
pub(crate) const LIKELY: &[&str] = &[
    "crc16",
    "failover",
    "jbd2",
    "libcrc32c",
    "mbcache",
    "net_failover",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_ring",
    "vmw_vsock_virtio_transport_common",
    "vsock",
];

/// The names among [`NEEDS`] that are modules, and of all modules they depend on; in no particular order.
pub(crate) fn needed(depends: &dyn Fn(&str) -> Option<Vec<String>>) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    let mut open: Vec<String> = NEEDS.iter().map(|need| need.module.to_owned()).collect();
    while let Some(name) = open.pop() {
        if let Some(needs) = depends(&name)
            && needed.insert(name)
        {
            open.extend(needs);
        }
    }
    needed
}
