//! What happens inside a machine's network namespace before its VMM runs there: see `helper` and, where it is root's,
//! `network::direct`.
//!
//! ```text
//! outside   host -> pasta | veth -> eth0 (constant addresses | allocated ones)
//!                              | DNAT / masquerade / forwarding by the namespace's kernel
//! guest     eth0 <- VMM <- knaller0 (TAP)
//! ```
//!
//! No shell, `ip` or `sysctl`: the TAP by ioctl, addresses and routes by netlink, switches by /proc/sys, and the rules by
//! one call of `nft` with JSON, which takes less than 5 ms.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Prefix, Protocol};

mod link;
mod nat;
mod switches;
mod tap;

/// What the starting process says of it to the helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the host delivers here and the guest is to have.
    pub ports: Vec<Port>,
    /// Whether the host has an IPv6 route, and so this namespace.
    pub ipv6: bool,
    /// Addresses of the host, which the guest is not to reach.
    pub host: Vec<IpAddr>,
    /// The `nft` program.
    pub nft: PathBuf,
    /// What it may reach, if it has a policy.
    pub egress: Option<Egress>,
}

/// A machine's egress policy, with its names resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Whether public addresses are out of reach too.
    pub deny: bool,
    /// Name servers, of which it reaches port 53.
    pub servers: Vec<IpAddr>,
    /// What it reaches wherever that is.
    pub holes: Vec<Hole>,
}

/// Addresses that a policy opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    pub prefix: Prefix,
    /// All there is if none.
    pub port: Option<u16>,
}

/// A port of the namespace and where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    pub protocol: Protocol,
    /// The port that the host delivers to, which is its own.
    pub port: u16,
    pub guest_port: u16,
}

/// Which ports lead to the guest of a machine that runs, from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Doors {
    pub(crate) ports: Vec<Port>,
    /// Whether the namespace has IPv6.
    pub(crate) ipv6: bool,
    /// The `nft` program.
    pub(crate) nft: PathBuf,
}

/// Which step failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Error {
    step: &'static str,
    reason: String,
}

impl Error {
    fn new(step: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |reason| Self {
            step,
            reason: reason.to_string(),
        }
    }
}

/// Puts the rules for these ports in the place of those before, all at once.
///
/// # Errors
/// The kernel refuses them; they are as before then.
pub(crate) fn renew(doors: &Doors) -> Result<(), Error> {
    nat::renew(doors)
}

/// Sets the namespace up. Nothing needs undoing, since it goes with its last process.
///
/// # Errors
/// Which step failed, and why.
pub(crate) fn set_up(plan: &Plan) -> Result<(), Error> {
    let tap = tap::create(crate::network::addresses::TAP).map_err(|e| Error::new("TAP device")(&e))?;
    link::configure(plan.ipv6)?;
    nat::apply(plan)?;
    switches::turn(plan.ipv6).map_err(|e| Error::new("forwarding")(&e))?;
    drop(tap);
    Ok(())
}
