//! A machine as the VMM's API is told it. One code path for Firecracker from 1.10 on and sparkler.

use firecracker_api::Client;
use firecracker_api::models::{
    ActionType, Balloon, BootSource, Drive, EntropyDevice, MacAddress, MachineConfiguration, MmdsConfig,
    MmdsVersion, NetworkInterface, Vsock,
};

use super::disks::Disk;
use crate::layout::{self, VSOCK};
use crate::network::addresses::{GUEST_MAC, TAP};
use crate::{MachineSpec, Network};

/// What the kernel is told. `quiet`: a console costs time; the three for i8042, which are Firecracker's own: up to half
/// a second of probing; `panic=-1` and `reboot=k`: a guest that is lost ends its VMM; `cryptomgr.notests`: 0.3 s under
/// TCG. The last one is for images with systemd, whose login on the console waits 90 s for a device that only udev
/// announces, and for no person. No `i8042.nopnp`: with it the kernel finds no keyboard on QEMU's microvm, and
/// Ctrl-Alt-Del reaches nobody.
pub(super) const BOOT_ARGS: &str = "quiet loglevel=1 reboot=k panic=-1 8250.nr_uarts=1 console=ttyS0 i8042.noaux \
                         i8042.nomux i8042.dumbkbd random.trust_cpu=on cryptomgr.notests systemd.getty_auto=no";

/// The set of devices that every machine has: vsock, entropy, balloon. A new number with each change of it.
pub(super) const DEVICES: u32 = 2;

/// The guest's own vsock address: 0 to 2 are taken (vsock(7)), and every guest is alone on its device.
const GUEST_CID: u32 = 3;

/// The interface's id in the API, and its name in the guest.
pub(super) const INTERFACE: &str = "eth0";

/// What the kernel and its initrd are.
pub(super) struct Boot {
    pub(super) kernel: String,
    pub(super) initrd: String,
}

/// All that does not depend on the machine's disks. Every machine has a balloon, so that any can be asked to give memory
/// back; it takes `balloon_mib` from the guest as soon as that has its driver.
pub(super) async fn machine(
    client: &Client,
    spec: &MachineSpec,
    boot: Boot,
    balloon_mib: u32,
) -> Result<(), firecracker_api::Error> {
    let machine = MachineConfiguration {
        vcpu_count: spec.cpus,
        mem_size_mib: spec.memory_mib as usize,
        track_dirty_pages: spec.track_dirty,
        ..MachineConfiguration::default()
    };
    client.put_machine_config(&machine).await?;
    let source = BootSource {
        kernel_image_path: boot.kernel,
        initrd_path: Some(boot.initrd),
        boot_args: Some(BOOT_ARGS.to_owned()),
    };
    client.put_boot_source(&source).await?;
    let vsock = Vsock {
        guest_cid: GUEST_CID,
        // Relative to the VMM's working folder, which is the runtime folder: a kept guest has it in any machine's.
        uds_path: VSOCK.to_owned(),
        ..Vsock::default()
    };
    client.put_vsock(&vsock).await?;
    client.put_entropy(&EntropyDevice::default()).await?;
    let balloon = Balloon {
        amount_mib: balloon_mib,
        // A guest that needs its memory after all is better off with it than without some of its processes.
        deflate_on_oom: true,
        ..Balloon::default()
    };
    client.put_balloon(&balloon).await?;
    if spec.network != Network::None {
        network(client, spec).await?;
    }
    Ok(())
}

async fn network(client: &Client, spec: &MachineSpec) -> Result<(), firecracker_api::Error> {
    let interface = NetworkInterface {
        iface_id: INTERFACE.to_owned(),
        host_dev_name: TAP.to_owned(),
        // The guest itself takes another, if it is to have one: a guest that was kept has this.
        guest_mac: Some(MacAddress(GUEST_MAC.bytes())),
        ..NetworkInterface::default()
    };
    client.put_network_interface(&interface).await?;
    if spec.metadata.is_none() {
        return Ok(());
    }
    let service = MmdsConfig {
        version: MmdsVersion::V2,
        network_interfaces: vec![INTERFACE.to_owned()],
        ..MmdsConfig::default()
    };
    client.put_mmds_config(&service).await
}

/// Gives the VMM what it is to serve to the guest.
pub(super) async fn metadata(client: &Client, spec: &MachineSpec) -> Result<(), firecracker_api::Error> {
    match &spec.metadata {
        Some(metadata) => client.put_mmds(metadata).await,
        None => Ok(()),
    }
}

/// Attaches the disks, which are linked, in their order, by which the guest names them. None is a root device for the
/// VMM, which would only add a `root=` that the initramfs does not read.
pub(super) async fn disks(client: &Client, disks: &[Disk]) -> Result<(), firecracker_api::Error> {
    for disk in disks {
        let drive = Drive {
            drive_id: disk.id.clone(),
            path_on_host: Some(layout::drive(&disk.id)),
            is_root_device: false,
            is_read_only: Some(disk.read_only),
            ..Drive::default()
        };
        client.put_drive(&drive).await?;
    }
    Ok(())
}

pub(super) async fn go(client: &Client) -> Result<(), firecracker_api::Error> {
    client.put_action(ActionType::InstanceStart).await
}
