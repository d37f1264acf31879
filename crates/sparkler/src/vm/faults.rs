//! Refusals in Firecracker's words, and our own where QEMU cannot do what Firecracker can.
//!
//! Invariant: a client that looks for Firecracker's text finds it; a text of ours always starts with Firecracker's
//! `The requested operation is not supported` and says what is missing.

use std::fmt::Display;

use firecracker_api::server::Fault;

/// A refusal of something Firecracker can do and QEMU cannot.
#[must_use]
pub fn not_supported(what: &str) -> Fault {
    Fault::bad_request(format!("The requested operation is not supported: {what}"))
}

/// A refusal with the part of Firecracker's configuration it comes from in front, such as `Drive config error`.
pub fn within(part: &str, why: impl Display) -> Fault {
    Fault::bad_request(why.to_string()).within(part)
}

/// A device that was never configured, as every operation on a started machine says it (`FindDeviceError`).
pub const NO_DEVICE: &str = "Failed perform action on device: Device not found";

/// The same of a drive, a network interface or a pmem device.
#[must_use]
pub fn unknown_drive() -> Fault {
    drive_update(NO_DEVICE)
}

/// A drive of a started machine that cannot be changed.
pub fn drive_update(why: impl Display) -> Fault {
    let text = format!("Unable to patch the block device: {why} Please verify the request arguments.");
    within("Drive config error", text)
}

/// A network interface of a started machine that cannot be changed.
pub fn net_update(why: impl Display) -> Fault {
    within("Network config error: Unable to update the net device", why)
}

/// A disk image that cannot be used, by what the system said of it.
#[must_use]
pub fn backing_file(error: &std::io::Error, path: &str) -> String {
    format!("Virtio backend error: Error manipulating the backing file: {error} {path}")
}

/// A start that failed; the machine can be configured on and started again.
pub fn start(why: impl Display) -> Fault {
    within("Start microvm error", why)
}

/// A started machine whose QEMU did not do what it was told.
pub fn internal(why: impl Display) -> Fault {
    within("Internal VMM error", why)
}
