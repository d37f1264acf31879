//! What can be said about the values of an admitted request without touching a file or a device.
//!
//! The invariant: each function says yes exactly where Firecracker does, and otherwise gives its words. What is already
//! configured is given by the caller, who keeps it. Where Firecracker checks between two steps of the real work, the
//! checks here are split at that place and their order is told.

use std::net::Ipv4Addr;

use serde_json::{Map, Value};

use super::Fault;
use crate::models::{
    Balloon, Drive, HugePages, MachineConfiguration, MemoryHotplugConfig, MmdsConfig, NetworkInterface,
    PartialMachineConfiguration, Pmem, Vsock,
};

/// The most vCPUs a VM may have.
pub const MAX_VCPUS: u8 = 32;

/// 4 KiB pages in a MiB: what a balloon's size is multiplied with before it must fit 32 bits.
const PAGES_PER_MIB: u32 = 256;

/// The machine after `change` (`MachineConfig::update` and `VmResources::update_machine_config` in Firecracker).
/// `balloon_mib` is the size of the balloon, if there is one.
///
/// # Errors
/// `Machine config error: …`
pub fn machine_config(
    current: &MachineConfiguration,
    change: &PartialMachineConfiguration,
    balloon_mib: Option<u32>,
) -> Result<MachineConfiguration, Fault> {
    let refuse = |why: String| Err(Fault::bad_request(why).within("Machine config error"));
    let next = MachineConfiguration {
        vcpu_count: change.vcpu_count.unwrap_or(current.vcpu_count),
        mem_size_mib: change.mem_size_mib.unwrap_or(current.mem_size_mib),
        smt: change.smt.unwrap_or(current.smt),
        cpu_template: change
            .cpu_template
            .or(current.cpu_template)
            .filter(|t| *t != Default::default()),
        track_dirty_pages: change.track_dirty_pages.unwrap_or(current.track_dirty_pages),
        huge_pages: change.huge_pages.unwrap_or(current.huge_pages),
    };
    if cfg!(target_arch = "aarch64") && next.smt {
        return refuse("Enabling simultaneous multithreading is not supported on aarch64.".into());
    }
    let odd = next.vcpu_count > 1 && !next.vcpu_count.is_multiple_of(2);
    if next.vcpu_count == 0 || next.vcpu_count > MAX_VCPUS || (next.smt && odd) {
        return refuse(format!(
            "The number of vCPUs must be greater than 0, less than {MAX_VCPUS} and must be 1 or an even number if SMT \
             is enabled."
        ));
    }
    let unit = if next.huge_pages == HugePages::None { 1 } else { 2 };
    if next.mem_size_mib == 0 || !next.mem_size_mib.is_multiple_of(unit) {
        return refuse(
            "The memory size (MiB) is either 0, or not a multiple of the configured page size.".into(),
        );
    }
    if balloon_mib.is_some_and(|mib| exceeds(mib, next.mem_size_mib)) {
        return refuse(
            "The memory size (MiB) is smaller than the previously set balloon device target size.".into(),
        );
    }
    Ok(next)
}

fn exceeds(mib: u32, memory_mib: usize) -> bool {
    usize::try_from(mib).is_ok_and(|mib| mib > memory_mib)
}

/// A balloon that is set before the start.
///
/// # Errors
/// `Balloon config error: …`
pub fn balloon(balloon: &Balloon, memory_mib: usize) -> Result<(), Fault> {
    let refuse = |why: String| Err(Fault::bad_request(why).within("Balloon config error"));
    if exceeds(balloon.amount_mib, memory_mib) {
        return refuse("Amount of pages requested is too large.".into());
    }
    if balloon.amount_mib.checked_mul(PAGES_PER_MIB).is_none() {
        return refuse(format!(
            "Error creating the balloon device: Requested memory should be less than {}MiB",
            u32::MAX / PAGES_PER_MIB
        ));
    }
    Ok(())
}

/// A new size for the balloon of a started guest.
///
/// # Errors
/// `Balloon update error: …`
pub fn balloon_size(amount_mib: u32, memory_mib: usize) -> Result<(), Fault> {
    let limit = if exceeds(amount_mib, memory_mib) {
        amount_mib
    } else if amount_mib.checked_mul(PAGES_PER_MIB).is_none() {
        u32::MAX / PAGES_PER_MIB
    } else {
        return Ok(());
    };
    Err(
        Fault::bad_request(format!("Requested memory should be less than {limit}MiB"))
            .within("Balloon update error: Balloon"),
    )
}

/// A new interval for the statistics of a started guest's balloon.
///
/// # Errors
/// `Balloon update error: …`
pub fn balloon_interval(current_s: u16, new_s: u16) -> Result<(), Fault> {
    if (current_s == 0) == (new_s == 0) {
        return Ok(());
    }
    Err(
        Fault::bad_request("Statistics cannot be enabled/disabled after activation.")
            .within("Balloon update error: Balloon"),
    )
}

/// A drive before its file is opened: first the place of the root, then the fields that exclude each other.
///
/// # Errors
/// `Drive config error: …`
pub fn drive(new: &Drive, drives: &[Drive], pmem: &[Pmem]) -> Result<(), Fault> {
    let refuse = |why: &str| Err(Fault::bad_request(why).within("Drive config error"));
    if new.is_root_device {
        if pmem.iter().any(|device| device.root_device) {
            return refuse(
                "Attempt to add block as a root device while the root device defined as a pmem device",
            );
        }
        if drives
            .iter()
            .any(|drive| drive.is_root_device && drive.drive_id != new.drive_id)
        {
            return refuse("A root block device already exists!");
        }
    }
    let of_a_file = new.path_on_host.is_some() && new.socket.is_none();
    let of_a_process = new.socket.is_some()
        && new.is_read_only.is_none()
        && new.path_on_host.is_none()
        && new.rate_limiter.is_none()
        && new.io_engine.is_none();
    if of_a_file || of_a_process {
        return Ok(());
    }
    refuse("Unable to create the virtio block device: Invalid block config.")
}

/// Puts a drive whose file was opened into its place: that of its predecessor with the same id, or the end; the root
/// drive first (`BlockBuilder::insert`).
pub fn place_drive(drives: &mut Vec<Drive>, new: Drive) {
    let is_root = new.is_root_device;
    match drives.iter().position(|drive| drive.drive_id == new.drive_id) {
        Some(index) => {
            drives[index] = new;
            if is_root {
                drives.swap(0, index);
            }
        }
        None if is_root => drives.insert(0, new),
        None => drives.push(new),
    }
}

/// A pmem device before its file is opened (`PmemBuilder::build`).
///
/// # Errors
/// `Pmem config error: …`
pub fn pmem(new: &Pmem, devices: &[Pmem], drives: &[Drive]) -> Result<(), Fault> {
    let refuse = |why: &str| Err(Fault::bad_request(why).within("Pmem config error"));
    if !new.root_device {
        return Ok(());
    }
    if drives.iter().any(|drive| drive.is_root_device) {
        return refuse(
            "Attempt to add pmem as a root device while the root device defined as a block device",
        );
    }
    if devices
        .iter()
        .any(|device| device.root_device && device.id != new.id)
    {
        return refuse("A root pmem device already exist");
    }
    Ok(())
}

/// A network interface before its TAP device is opened.
///
/// # Errors
/// `Network config error: …`
pub fn network_interface(new: &NetworkInterface, interfaces: &[NetworkInterface]) -> Result<(), Fault> {
    let refuse = |why: String| Err(Fault::bad_request(why).within("Network config error"));
    let taken = |mac| {
        interfaces
            .iter()
            .any(|net| net.guest_mac == Some(mac) && net.iface_id != new.iface_id)
    };
    if let Some(mac) = new.guest_mac.filter(|mac| taken(*mac)) {
        return refuse(format!("The MAC address is already in use: {mac}"));
    }
    // IFNAMSIZ, less the closing zero.
    if new.host_dev_name.len() > 15 {
        return refuse(
            "Could not create the network device: Open tap device failed: Invalid interface name".into(),
        );
    }
    Ok(())
}

/// A network interface's MTU, after its TAP device was opened.
///
/// # Errors
/// `Network config error: …`
pub fn mtu(mtu: Option<u16>) -> Result<(), Fault> {
    match mtu {
        Some(mtu @ 0..68) => Err(
            Fault::bad_request(format!("MTU {mtu} is out of range [68, 65535]"))
                .within("Network config error: Could not create the network device"),
        ),
        _ => Ok(()),
    }
}

/// A vsock device. Firecracker takes any context id; below 3 no guest can be reached, and QEMU refuses.
///
/// # Errors
/// `Vsock config error: …`
pub fn vsock(vsock: &Vsock) -> Result<(), Fault> {
    if vsock.guest_cid >= 3 {
        return Ok(());
    }
    Err(Fault::bad_request("The guest's context id must be 3 or more.").within("Vsock config error"))
}

/// The metadata service's address, if interfaces with the ids `known` are configured.
///
/// # Errors
/// `MMMDS config error: …` (so spelt)
pub fn mmds_config(config: &MmdsConfig, known: &[&str]) -> Result<Ipv4Addr, Fault> {
    let refuse = |why: &str| Err(Fault::bad_request(why).within("MMMDS config error"));
    let address = config.ipv4_address.unwrap_or(MmdsConfig::DEFAULT_ADDRESS);
    // RFC 3927 keeps the first and the last 256 link-local addresses for itself.
    if !matches!(address.octets(), [169, 254, 1..=254, _]) {
        return refuse("The MMDS IPv4 address is not link local.");
    }
    if config.network_interfaces.is_empty() {
        return refuse("The list of network interface IDs that allow forwarding MMDS requests is empty.");
    }
    if !config
        .network_interfaces
        .iter()
        .all(|id| known.contains(&id.as_str()))
    {
        return refuse(
            "The list of network interface IDs provided contains at least one ID that does not correspond to any \
             existing network interface.",
        );
    }
    Ok(address)
}

/// The metadata after `PUT /mmds`. `limit` is in bytes of JSON (`--mmds-size-limit`).
///
/// # Errors
/// Status 413 if they are larger.
pub fn put_mmds(contents: Value, limit: usize) -> Result<Value, Fault> {
    if contents.to_string().len() > limit {
        Err(Fault::mmds_too_large())
    } else {
        Ok(contents)
    }
}

/// The metadata after `PATCH /mmds`; `None` are metadata nobody has put yet.
///
/// # Errors
/// `MMDS error: …`; status 413 if they would be larger than `limit`.
pub fn patch_mmds(contents: Option<&Value>, patch: &Value, limit: usize) -> Result<Value, Fault> {
    let Some(contents) = contents else {
        return Err(mmds_not_initialized());
    };
    let mut merged = contents.clone();
    merge(&mut merged, patch);
    put_mmds(merged, limit)
}

/// The refusal of metadata that are not there: none were put, or the started guest has no interface for them.
#[must_use]
pub fn mmds_not_initialized() -> Fault {
    Fault::bad_request("The MMDS data store is not initialized.").within("MMDS error")
}

/// Merges as RFC 7396 says. No deeper than JSON is read, which serde limits to 128 levels.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), change);
        }
    }
}

/// A hot-pluggable memory region (`MemoryHotplugConfig::validate`).
///
/// # Errors
/// `Memory hotplug config error: …`
pub fn memory_hotplug(config: &MemoryHotplugConfig) -> Result<(), Fault> {
    let MemoryHotplugConfig {
        total_size_mib: total,
        block_size_mib: block,
        slot_size_mib: slot,
    } = *config;
    let (min_block, min_slot) = (
        MemoryHotplugConfig::MIN_BLOCK_MIB,
        MemoryHotplugConfig::MIN_SLOT_MIB,
    );
    let why = if block < min_block {
        format!("Block size must not be lower than {min_block} MiB")
    } else if !block.is_power_of_two() {
        "Block size must be a power of 2".into()
    } else if slot < min_slot {
        format!("Slot size must not be lower than {min_slot} MiB")
    } else if !slot.is_multiple_of(block) {
        format!("Slot size must be a multiple of block size ({block} MiB)")
    } else if total < slot {
        format!("Total size must not be lower than slot size ({slot} MiB)")
    } else if !total.is_multiple_of(slot) {
        format!("Total size must be a multiple of slot size ({slot} MiB)")
    } else {
        return Ok(());
    };
    Err(Fault::bad_request(why).within("Memory hotplug config error"))
}
