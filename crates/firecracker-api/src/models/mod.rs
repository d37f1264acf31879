//! The bodies of Firecracker's HTTP API, named as in its OpenAPI file (`src/firecracker/swagger/firecracker.yaml`, 1.17).
//!
//! The invariant: a body that Firecracker accepts is accepted here with the same meaning, one that it refuses is
//! refused with the same words, and what is written here is understood by every Firecracker from 1.10 on as long as
//! nothing newer is asked for. Hence:
//!
//! - the order of the fields is Firecracker's, because the error texts list them in that order (and because serde
//!   takes an array for a struct, in that order);
//! - `deny_unknown_fields` stands exactly where Firecracker has it;
//! - `expecting` keeps Firecracker's own type names in the texts where ours follow the OpenAPI file (but the text for
//!   an array of the wrong length then does not tell the right one);
//! - absent optional fields, and fields younger than 1.10 that hold their default, are not written at all, since an
//!   older server refuses names it does not know.
//!
//! A field without a remark on its age was there in 1.10 or before. Paths are those the server sees: in its mount
//! namespace, below its jail if it is jailed.

mod balloon;
mod boot;
mod cpu;
mod cpu_text;
mod drives;
mod full;
mod hotplug;
mod instance;
mod machine;
mod mmds;
mod network;
mod observe;
mod pmem;
mod rate;
mod serial;
mod snapshot;
mod vsock;

#[cfg(test)]
mod tests;

pub use balloon::{
    Balloon, BalloonHintingStatus, BalloonStartCmd, BalloonStats, BalloonStatsUpdate, BalloonUpdate,
};
pub use boot::{BootSource, EntropyDevice};
#[cfg(target_arch = "aarch64")]
pub use cpu::{ArmRegisterModifier, VcpuFeatures};
pub use cpu::{CpuConfig, CpuConfigSource, CpuTemplate};
#[cfg(target_arch = "x86_64")]
pub use cpu::{CpuidLeafModifier, CpuidRegister, CpuidRegisterModifier, MsrModifier};
pub use cpu_text::{Bitmap, Bits, KvmCapability};
pub use drives::{CacheType, Drive, IoEngine, PartialDrive};
pub use full::FullVmConfiguration;
pub use hotplug::{MemoryHotplugConfig, MemoryHotplugSizeUpdate, MemoryHotplugStatus};
pub use instance::{
    ActionType, FirecrackerVersion, InstanceActionInfo, InstanceInfo, InstanceState, Vm, VmState,
};
pub use machine::{HugePages, MachineConfiguration, PartialMachineConfiguration};
pub use mmds::{MmdsConfig, MmdsVersion};
pub use network::{InvalidMac, MacAddress, NetworkInterface, PartialNetworkInterface};
pub use observe::{LogLevel, Logger, Metrics};
pub use pmem::{PartialPmem, Pmem};
pub use rate::{RateLimiter, TokenBucket};
pub use serial::SerialDevice;
pub use snapshot::{
    MemoryBackend, MemoryBackendType, NetworkOverride, SnapshotCreateParams, SnapshotHugePages,
    SnapshotLoadParams, SnapshotType, VsockOverride,
};
pub use vsock::Vsock;

/// Whether a switch younger than Firecracker 1.10 is off and so better left out of the body.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if gives a reference"
)]
fn is_off(switch: &bool) -> bool {
    !switch
}
