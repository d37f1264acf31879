//! The cases, by topic.

mod balloon;
mod boot;
mod cpu;
mod drives;
mod hotplug;
mod http;
mod instance;
mod machine;
mod mmds;
mod network;
mod observe;
mod phases;
mod pmem;
mod small_devices;
mod snapshots;

use serde_json::{Value, json};

use super::{Case, Files};

/// Every case, in a fixed order.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        http::CASES,
        instance::CASES,
        boot::CASES,
        machine::CASES,
        cpu::CASES,
        drives::CASES,
        pmem::CASES,
        network::CASES,
        small_devices::CASES,
        balloon::CASES,
        hotplug::CASES,
        mmds::CASES,
        observe::CASES,
        snapshots::CASES,
        phases::CASES,
    ]
    .concat()
}

/// The boot source with which guests are started.
pub(super) fn boot_source(files: &Files) -> Value {
    let mut source = json!({"kernel_image_path": files.kernel, "boot_args": files.boot_args});
    if let Some(initrd) = &files.initrd {
        source["initrd_path"] = json!(initrd);
    }
    source
}

/// The machine with which guests are started.
pub(super) fn small_machine() -> Value {
    json!({"vcpu_count": 1, "mem_size_mib": 256})
}

/// Words that every update of a device begins with where the device is not there.
const NO_DEVICE: &str = "Failed perform action on device: Device not found";
