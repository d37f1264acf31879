//! The limits that a VMM keeps: those of the disks, of the network and the size of the balloon.
//!
//! The invariant: no guest does a thing of its own before they hold. They are put on devices that are there, after the
//! guest has been booted or thawed and before it has its config: so a template knows nothing of them.

use firecracker_api::Client;
use firecracker_api::models::{BalloonUpdate, PartialDrive, PartialNetworkInterface, RateLimiter};

use super::configure::INTERFACE;
use super::disks;
use crate::spec::open;
use crate::{Limits, MachineSpec, Network};

/// Limits the devices of a machine of this spec, where it says so.
pub(super) async fn hold(client: &Client, spec: &MachineSpec) -> Result<(), firecracker_api::Error> {
    if spec.limits.limit_disks() {
        disks_of(client, spec).await?;
    }
    if spec.limits.limit_network() && spec.network != Network::None {
        network(client, &spec.limits).await?;
    }
    Ok(())
}

/// Gives each of the machine's disks its limits, and takes away those that are not said.
pub(crate) async fn disks_of(client: &Client, spec: &MachineSpec) -> Result<(), firecracker_api::Error> {
    for drive in disks::layout(spec) {
        let change = PartialDrive {
            drive_id: drive.id,
            rate_limiter: Some(RateLimiter {
                bandwidth: Some(open(spec.limits.disk_bandwidth)),
                ops: Some(open(spec.limits.disk_ops)),
            }),
            ..PartialDrive::default()
        };
        client.patch_drive(&change).await?;
    }
    Ok(())
}

/// The same for both directions of its interface.
pub(crate) async fn network(client: &Client, limits: &Limits) -> Result<(), firecracker_api::Error> {
    let limiter = |rate| RateLimiter {
        bandwidth: Some(open(rate)),
        ops: None,
    };
    let change = PartialNetworkInterface {
        iface_id: INTERFACE.to_owned(),
        rx_rate_limiter: Some(limiter(limits.receive)),
        tx_rate_limiter: Some(limiter(limits.send)),
    };
    client.patch_network_interface(&change).await
}

/// Asks a guest that has the driver to give up so many MiB, or to take them back.
pub(crate) async fn balloon(client: &Client, amount_mib: u32) -> Result<(), firecracker_api::Error> {
    client.patch_balloon(&BalloonUpdate { amount_mib }).await
}
