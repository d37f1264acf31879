//! How a machine reaches the world, and it the machine.

use std::net::IpAddr;
use std::path::Path;

use crate::netns::{Egress, Plan, Port};
use crate::{Forward, MachineSpec, Network, Options, Result};

pub(crate) mod addresses;
pub(crate) mod direct;
pub(crate) mod dns;
pub(crate) mod egress;
pub(crate) mod lean;
pub(crate) mod live;
pub(crate) mod nft;
pub(crate) mod own;
pub(crate) mod pasta;
pub(crate) mod ports;
pub(crate) mod routes;

use direct::Direct;
use egress::Resolved;
use pasta::Pasta;

/// What connects a machine.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Pasta(Pasta),
    Direct(Direct),
}

/// A machine's connection, before it is made.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) wire: Wire,
    /// None where nothing is refused but the host.
    pub(crate) policy: Option<Resolved>,
}

impl Connection {
    /// What this host has for it, without forwards yet. Blocks while names are looked up.
    pub(crate) fn find(options: &Options, spec: &MachineSpec) -> Result<Option<Self>> {
        let mut wire = match spec.network {
            Network::None => return Ok(None),
            Network::Pasta => Wire::Pasta(Pasta::find(options)?),
            Network::Direct => Wire::Direct(Direct::find(options)?),
        };
        let has_policy = matches!(wire, Wire::Direct(_)) || !spec.egress.is_empty();
        let ipv6 = wire.ipv6();
        let policy = has_policy
            .then(|| Resolved::new(&spec.egress, ipv6))
            .transpose()?;
        let egress = policy.as_ref().map(|policy| policy.egress.clone());
        match &mut wire {
            Wire::Pasta(pasta) => pasta.egress = egress,
            Wire::Direct(direct) => direct.egress = egress.unwrap_or_default(),
        }
        Ok(Some(Self { wire, policy }))
    }

    pub(crate) fn ipv6(&self) -> bool {
        self.wire.ipv6()
    }
}

impl Wire {
    fn ipv6(&self) -> bool {
        match self {
            Self::Pasta(pasta) => pasta.ipv6,
            Self::Direct(direct) => direct.ipv6,
        }
    }
}

/// What a machine's namespace is to have.
fn plan(forwards: &[Forward], ipv6: bool, nft: &Path, egress: Option<Egress>) -> Plan {
    let mut host = own::of_host();
    host.retain(|address| ipv6 || address.is_ipv4());
    if egress.is_none() {
        // Without a policy nobody says which of their ports are name servers'.
        let servers: Vec<IpAddr> = dns::of_host(ipv6).servers;
        host.retain(|address| !servers.contains(address));
    }
    Plan {
        ports: forwards.iter().map(port).collect(),
        ipv6,
        host,
        nft: nft.to_owned(),
        egress,
    }
}

/// Where a forward comes into the namespace.
fn port(forward: &Forward) -> Port {
    Port {
        protocol: forward.protocol,
        port: forward.host_port,
        guest_port: forward.guest_port,
    }
}
