//! QEMU's command line, from a description of the machine.
//!
//! Invariant: a pure function. Everything is named (nodes, devices, objects) and every virtio device stands in a slot
//! given by its place in Firecracker's own order (balloon, drives, network, vsock, entropy), so two machines of the
//! same configuration are the same to QEMU: a snapshot of one can be loaded into the other.

use std::os::fd::RawFd;
use std::path::PathBuf;

use firecracker_api::models::{Balloon, Drive, MacAddress, RateLimiter};
use serde_json::{Value, json};

use super::accel::Accel;
use crate::arch;
use crate::devices::drive::{self, Driver, Names};
use crate::devices::entropy::Quota;

/// A machine to be made. File descriptors are numbers that are open in the child under the same number.
#[derive(Debug)]
pub struct Machine {
    /// How instructions are run.
    pub accel: Accel,
    /// Number of vCPUs.
    pub vcpus: u8,
    /// Whether two vCPUs share a core.
    pub smt: bool,
    /// Memory, MiB.
    pub memory_mib: usize,
    /// What the memory is made of.
    pub memory: MemorySlot,
    /// What is booted; none for a machine that waits for another's state.
    pub boot: Option<BootSlot>,
    /// Socket of the control connection.
    pub control: RawFd,
    /// Socket of the serial console.
    pub console: RawFd,
    /// Where QEMU's own log goes (`-d cpu_reset`: the one place where a triple fault is told).
    pub log: RawFd,
    /// The balloon.
    pub balloon: Option<Balloon>,
    /// Drives, the root drive first.
    pub drives: Vec<DriveSlot>,
    /// Network interfaces.
    pub nets: Vec<NetSlot>,
    /// Socket to the vsock backend.
    pub vsock: Option<RawFd>,
    /// The entropy device.
    pub entropy: Option<EntropySlot>,
}

/// The guest's memory.
#[derive(Debug)]
pub struct MemorySlot {
    /// Its file.
    pub path: PathBuf,
    /// Whether what the guest writes goes into the file.
    pub share: bool,
}

/// What is booted.
#[derive(Debug)]
pub struct BootSlot {
    /// Kernel image.
    pub kernel: PathBuf,
    /// Initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    pub cmdline: String,
}

/// A drive and the open file below it.
#[derive(Debug)]
pub struct DriveSlot {
    /// Configuration.
    pub drive: Drive,
    /// The open file.
    pub file: RawFd,
    /// The id the guest sees.
    pub serial: String,
    /// What serves the file.
    pub driver: Driver,
}

/// A network interface and what carries its frames.
#[derive(Debug)]
pub struct NetSlot {
    /// What carries the frames.
    pub link: Link,
    /// The guest's address; the guest chooses one if none is given.
    pub mac: Option<MacAddress>,
    /// The MTU told to the guest.
    pub mtu: Option<u16>,
}

/// What carries frames between QEMU and the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// A TAP opened with `IFF_VNET_HDR`: offloads work, frames do not pass through this process.
    Tap(RawFd),
    /// A socket to the frame pump: four bytes of length (big-endian) before each frame.
    Stream(RawFd),
}

/// The entropy device.
#[derive(Debug, Default)]
pub struct EntropySlot {
    /// Its limiter.
    pub rate_limiter: Option<RateLimiter>,
}

impl Machine {
    /// The number of virtio devices.
    #[must_use]
    pub fn virtio_devices(&self) -> usize {
        usize::from(self.balloon.is_some())
            + self.drives.len()
            + self.nets.len()
            + usize::from(self.vsock.is_some())
            + usize::from(self.entropy.is_some())
    }

    /// QEMU's command line, without the program.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        let mut args = Args::default();
        self.base(&mut args);
        self.boot(&mut args);
        self.sockets(&mut args);
        for device in arch::LEGACY_DEVICES {
            args.pair("-device", *device);
        }
        self.virtio(&mut args);
        args.list
    }

    fn base(&self, args: &mut Args) {
        args.flag("-nodefaults");
        args.flag("-no-user-config");
        args.pair("-display", "none");
        let sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
        args.pair("-sandbox", sandbox);
        args.pair(
            "-machine",
            format!(
                "{},memory-backend=ram,suppress-vmdesc=on",
                arch::machine(self.accel)
            ),
        );
        args.pair("-accel", self.accel.name());
        args.pair("-cpu", arch::cpu(self.accel));
        args.pair("-smp", self.topology());
        args.pair("-m", format!("{}M", self.memory_mib));
        args.json(
            "-object",
            &json!({
                "qom-type": "memory-backend-file",
                "id": "ram",
                "mem-path": self.memory.path,
                "share": self.memory.share,
                "size": (self.memory_mib as u64) << 20,
            }),
        );
        // The state of the devices alone, as `xen-save-devices-state` writes it, without what describes the machine.
        args.pair("-global", "migration.send-configuration=off");
        // Virtio 1, as Firecracker's devices are.
        args.pair("-global", "virtio-mmio.force-legacy=false");
        // A guest that ends leaves QEMU paused: the reason is read and the console drained before QEMU is ended.
        args.pair("-action", "reboot=shutdown,shutdown=pause");
        args.pair("-d", "cpu_reset");
        args.pair("-D", format!("/proc/self/fd/{}", self.log));
    }

    fn topology(&self) -> String {
        let vcpus = self.vcpus;
        if self.smt && vcpus > 1 {
            format!("cpus={vcpus},sockets=1,cores={},threads=2", vcpus / 2)
        } else {
            format!("cpus={vcpus},sockets=1,cores={vcpus},threads=1")
        }
    }

    fn boot(&self, args: &mut Args) {
        let Some(boot) = &self.boot else {
            args.flag("-S");
            args.pair("-incoming", "defer");
            return;
        };
        args.pair("-kernel", boot.kernel.display().to_string());
        if let Some(initrd) = &boot.initrd {
            args.pair("-initrd", initrd.display().to_string());
        }
        args.pair("-append", boot.cmdline.as_str());
    }

    fn sockets(&self, args: &mut Args) {
        args.pair("-chardev", format!("socket,id=control,fd={}", self.control));
        args.pair("-mon", "chardev=control,mode=control");
        args.pair("-chardev", format!("socket,id=console,fd={}", self.console));
        args.pair("-serial", "chardev:console");
    }

    fn virtio(&self, args: &mut Args) {
        if let Some(balloon) = &self.balloon {
            args.device(json!({
                "driver": "virtio-balloon-device",
                "id": "balloon",
                "deflate-on-oom": balloon.deflate_on_oom,
                "free-page-reporting": balloon.free_page_reporting,
            }));
        }
        for (index, slot) in self.drives.iter().enumerate() {
            args.drive(index, slot);
        }
        for (index, slot) in self.nets.iter().enumerate() {
            args.net(index, slot);
        }
        if let Some(socket) = self.vsock {
            args.pair("-chardev", format!("socket,id=vsock,fd={socket}"));
            args.device(json!({ "driver": "vhost-user-vsock-device", "id": "vsock0", "chardev": "vsock" }));
        }
        if let Some(entropy) = &self.entropy {
            args.entropy(entropy);
        }
    }
}

#[derive(Default)]
struct Args {
    list: Vec<String>,
    virtio_slots: usize,
}

impl Args {
    fn flag(&mut self, flag: &str) {
        self.list.push(flag.to_owned());
    }

    fn pair(&mut self, flag: &str, value: impl Into<String>) {
        self.list.extend([flag.to_owned(), value.into()]);
    }

    fn json(&mut self, flag: &str, value: &Value) {
        self.pair(flag, value.to_string());
    }

    /// A virtio device in the next slot.
    fn device(&mut self, mut device: Value) {
        device["bus"] = format!("virtio-mmio-bus.{}", arch::virtio_slot(self.virtio_slots)).into();
        self.virtio_slots += 1;
        self.json("-device", &device);
    }

    fn drive(&mut self, index: usize, slot: &DriveSlot) {
        let names = Names { index, generation: 0 };
        let fdset = fdset(index, 0);
        self.pair("-add-fd", format!("fd={},set={fdset}", slot.file));
        self.json("-object", &drive::group(names, &slot.drive));
        for node in drive::nodes(names, &slot.drive, slot.driver, fdset) {
            self.json("-blockdev", &node);
        }
        self.device(json!({
            "driver": "virtio-blk-device",
            "id": names.device(),
            "drive": names.throttle(),
            "serial": slot.serial,
            // As Firecracker: the guest is told of the host's failures. QEMU by itself stops a guest that the host has
            // no disk space for, without a word.
            "rerror": "report",
            "werror": "report",
        }));
    }

    fn net(&mut self, index: usize, slot: &NetSlot) {
        let netdev = format!("link{index}");
        match slot.link {
            Link::Tap(fd) => self.pair("-netdev", format!("tap,id={netdev},fd={fd},vhost=off")),
            Link::Stream(fd) => {
                self.pair(
                    "-netdev",
                    format!("stream,id={netdev},addr.type=fd,addr.str={fd}"),
                );
            }
        }
        let mut device = json!({
            "driver": "virtio-net-device",
            "id": format!("net{index}"),
            "netdev": netdev,
        });
        if let Some(mac) = slot.mac {
            device["mac"] = mac.to_string().into();
        }
        if let Some(mtu) = slot.mtu {
            device["host_mtu"] = mtu.into();
        }
        self.device(device);
    }

    fn entropy(&mut self, slot: &EntropySlot) {
        self.json("-object", &json!({ "qom-type": "rng-builtin", "id": "entropy" }));
        let mut device = json!({ "driver": "virtio-rng-device", "id": "rng0", "rng": "entropy" });
        if let Some(quota) = slot.rate_limiter.as_ref().and_then(Quota::new) {
            device["max-bytes"] = quota.bytes.into();
            device["period"] = quota.period_ms.into();
        }
        self.device(device);
    }
}

/// The set of descriptors a drive's file is opened from, one per replacement.
#[must_use]
pub fn fdset(index: usize, generation: u64) -> u64 {
    (index as u64) + generation * arch::MAX_VIRTIO_DEVICES as u64
}
