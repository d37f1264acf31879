//! What is configured before the start, with the files it stands for already open.
//!
//! Invariant: a request is taken whole or not at all: values are judged, then files opened, then both kept. So what
//! cannot work is refused when it is asked for, as Firecracker does, and the start finds everything at hand.

use std::collections::HashMap;
use std::fs::File;

use firecracker_api::models::{
    Balloon, BootSource, Drive, EntropyDevice, FullVmConfiguration, HugePages, MachineConfiguration,
    MmdsConfig, NetworkInterface, PartialMachineConfiguration, RateLimiter, SerialDevice, Vsock,
};
use firecracker_api::server::{Fault, rules};

use super::faults::{backing_file, not_supported, within};
use crate::arch;
use crate::boot::cmdline::Cmdline;
use crate::devices::drive::Image;
use crate::devices::tap::Tap;
use crate::vsock;

/// Everything configured so far.
#[derive(Debug, Default)]
pub struct Resources {
    /// vCPUs and memory.
    pub machine: MachineConfiguration,
    /// Kernel, initrd and arguments.
    pub boot: Option<Boot>,
    /// Drives, the root drive first.
    pub drives: Vec<Drive>,
    /// The open images, by drive id.
    pub images: HashMap<String, Image>,
    /// Network interfaces.
    pub nets: Vec<NetworkInterface>,
    /// The open TAPs, by interface id.
    pub taps: HashMap<String, Tap>,
    /// The vsock device.
    pub vsock: Option<Vsock>,
    /// Its back-end, listening since it was configured.
    pub vsock_backend: Option<vsock::Backend>,
    /// The balloon.
    pub balloon: Option<Balloon>,
    /// The entropy device.
    pub entropy: Option<EntropyDevice>,
    /// The serial console.
    pub serial: SerialDevice,
    /// Which interfaces reach the metadata service, and how.
    pub mmds: Option<MmdsConfig>,
}

/// What is booted.
#[derive(Debug)]
pub struct Boot {
    /// As it was configured.
    pub source: BootSource,
    /// The kernel image.
    pub kernel: File,
    /// The initial RAM disk.
    pub initrd: Option<File>,
}

impl Resources {
    /// `PUT /boot-source`
    pub fn put_boot_source(&mut self, source: BootSource) -> Result<(), Fault> {
        let refuse = |why: String| within("Boot source error", why);
        let kernel = File::open(&source.kernel_image_path)
            .map_err(|error| refuse(format!("The kernel file cannot be opened: {error}")))?;
        let initrd = source
            .initrd_path
            .as_ref()
            .map(File::open)
            .transpose()
            .map_err(|error| {
                let what = "The initrd file cannot be opened due to invalid path or invalid permissions.";
                refuse(format!("{what} {error}"))
            })?;
        if let Some(args) = &source.boot_args {
            Cmdline::new(args)
                .map_err(|error| refuse(format!("The kernel command line is invalid: {error}")))?;
        }
        self.boot = Some(Boot {
            source,
            kernel,
            initrd,
        });
        Ok(())
    }

    /// `PUT /machine-config` and `PATCH /machine-config`
    pub fn update_machine(&mut self, change: &PartialMachineConfiguration) -> Result<(), Fault> {
        let balloon = self.balloon.map(|balloon| balloon.amount_mib);
        let machine = rules::machine_config(&self.machine, change, balloon)?;
        if machine.huge_pages != HugePages::None {
            return Err(not_supported(
                "huge pages cannot be had under QEMU here; set `huge_pages` to `None`",
            ));
        }
        if machine.cpu_template.is_some() {
            return Err(not_supported(
                "QEMU has no CPU templates; leave `cpu_template` out",
            ));
        }
        if machine.smt && !arch::HAS_SMT {
            return Err(not_supported("this machine has no simultaneous multithreading"));
        }
        self.machine = machine;
        Ok(())
    }

    /// `PUT /drives/{drive_id}`
    pub fn put_drive(&mut self, drive: Drive) -> Result<(), Fault> {
        rules::drive(&drive, &self.drives, &[])?;
        let Some(path) = &drive.path_on_host else {
            return Err(not_supported(
                "drives behind a vhost-user socket; give `path_on_host`",
            ));
        };
        let image = Image::open(path, drive.is_read_only.unwrap_or(false)).map_err(|error| {
            within(
                "Drive config error: Unable to create the virtio block device",
                backing_file(&error, path),
            )
        })?;
        let drive = Drive {
            is_read_only: Some(drive.is_read_only.unwrap_or(false)),
            io_engine: Some(drive.io_engine.unwrap_or_default()),
            rate_limiter: in_force(drive.rate_limiter),
            ..drive
        };
        self.images.insert(drive.drive_id.clone(), image);
        rules::place_drive(&mut self.drives, drive);
        Ok(())
    }

    /// `PUT /network-interfaces/{iface_id}`
    pub fn put_net(&mut self, net: NetworkInterface) -> Result<(), Fault> {
        rules::network_interface(&net, &self.nets)?;
        // The kernel gives a TAP out once: the one this interface had must be free before it is asked for again.
        let replaced = self.nets.iter().position(|other| other.iface_id == net.iface_id);
        if let Some(index) = replaced {
            tracing::warn!(
                "Replacing existing network device '{}'. The previous device configuration will be destroyed.",
                net.iface_id
            );
            self.nets.swap_remove(index);
            self.taps.remove(&net.iface_id);
        }
        let tap = Tap::open(&net.host_dev_name).map_err(|error| {
            within(
                "Network config error: Could not create the network device: Open tap device failed",
                error,
            )
        })?;
        rules::mtu(net.mtu)?;
        self.taps.insert(net.iface_id.clone(), tap);
        self.nets.push(NetworkInterface {
            rx_rate_limiter: in_force(net.rx_rate_limiter),
            tx_rate_limiter: in_force(net.tx_rate_limiter),
            ..net
        });
        Ok(())
    }

    /// `PUT /vsock`
    pub fn put_vsock(&mut self, vsock: Vsock) -> Result<(), Fault> {
        rules::vsock(&vsock)?;
        self.vsock = None;
        let refuse = |why: String| within("Vsock config error: Cannot create backend for vsock device", why);
        if let Some(before) = self.vsock_backend.take() {
            before
                .remove_socket()
                .map_err(|error| refuse(format!("Error binding to the host-side Unix socket: {error}")))?;
        }
        self.vsock_backend = Some(bind_vsock(&vsock).map_err(refuse)?);
        self.vsock = Some(Vsock {
            vsock_id: None,
            ..vsock
        });
        Ok(())
    }

    /// `PUT /balloon`
    pub fn put_balloon(&mut self, balloon: Balloon) -> Result<(), Fault> {
        rules::balloon(&balloon, self.machine.mem_size_mib)?;
        if balloon.free_page_hinting {
            return Err(not_supported(
                "QEMU's balloon has no free page hinting for others to drive",
            ));
        }
        self.balloon = Some(balloon);
        Ok(())
    }

    /// `PUT /entropy`
    pub fn put_entropy(&mut self, entropy: &EntropyDevice) {
        self.entropy = Some(EntropyDevice {
            rate_limiter: in_force(entropy.rate_limiter),
        });
    }

    /// `PUT /mmds/config`
    pub fn put_mmds_config(&mut self, config: MmdsConfig) -> Result<(), Fault> {
        let known: Vec<&str> = self.nets.iter().map(|net| net.iface_id.as_str()).collect();
        let address = rules::mmds_config(&config, &known)?;
        self.mmds = Some(MmdsConfig {
            ipv4_address: Some(address),
            ..config
        });
        Ok(())
    }

    /// Everything a snapshot brings along, `serials` those of its drives.
    pub fn put_all(&mut self, config: FullVmConfiguration, serials: &[String]) -> Result<(), Fault> {
        self.machine = config.machine_config.unwrap_or_default();
        let ids: Vec<String> = config.drives.iter().map(|drive| drive.drive_id.clone()).collect();
        for drive in config.drives {
            self.put_drive(drive)?;
        }
        for (id, serial) in ids.iter().zip(serials) {
            if let Some(image) = self.images.get_mut(id) {
                image.serial.clone_from(serial);
            }
        }
        for net in config.network_interfaces {
            self.put_net(net)?;
        }
        if let Some(balloon) = config.balloon {
            self.put_balloon(balloon)?;
        }
        if let Some(entropy) = &config.entropy {
            self.put_entropy(entropy);
        }
        if let Some(mmds) = config.mmds_config {
            self.put_mmds_config(mmds)?;
        }
        // Last, since it leaves a socket behind.
        if let Some(vsock) = config.vsock {
            self.put_vsock(vsock)?;
        }
        Ok(())
    }

    /// Removes what was made for a machine that did not come to be.
    pub fn let_go(&mut self) {
        self.vsock_backend = None;
        if let Some(vsock) = self.vsock.take()
            && let Err(error) = std::fs::remove_file(&vsock.uds_path)
        {
            tracing::warn!("The vsock device's socket stays behind: {error}");
        }
    }

    /// `GET /vm/config`
    #[must_use]
    pub fn full_config(&self) -> FullVmConfiguration {
        FullVmConfiguration {
            balloon: self.balloon,
            drives: self.drives.clone(),
            boot_source: self
                .boot
                .as_ref()
                .map(|boot| boot.source.clone())
                .unwrap_or_default(),
            machine_config: Some(self.machine),
            mmds_config: self.mmds.clone(),
            network_interfaces: self.nets.clone(),
            vsock: self.vsock.clone(),
            entropy: self.entropy,
            ..FullVmConfiguration::default()
        }
    }
}

/// A limiter that limits something, or none.
fn in_force(limiter: Option<RateLimiter>) -> Option<RateLimiter> {
    limiter.and_then(|limiter| limiter.in_force())
}

/// Listens for a vsock device's host side.
pub fn bind_vsock(vsock: &Vsock) -> Result<vsock::Backend, String> {
    vsock::Backend::bind(u64::from(vsock.guest_cid), &vsock.uds_path).map_err(|error| match error {
        // The words of Rust's standard library, which Firecracker binds with, for a path longer than the kernel takes.
        vsock::Error::Bind { source, .. } if source.raw_os_error() == Some(libc::ENAMETOOLONG) => {
            "Error binding to the host-side Unix socket: path must be shorter than SUN_LEN".to_owned()
        }
        vsock::Error::Bind { source, .. } => {
            format!("Error binding to the host-side Unix socket: {source}")
        }
        other => other.to_string(),
    })
}
