//! What the guest is told of itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use guest_protocol::{Config, Interface, Network, Renewal, Root, Route, VERSION, Volume};

use super::configure::INTERFACE;
use super::keys::{Keys, fill_random};
use crate::image;
use crate::network::addresses::{
    GATEWAY_V4, GATEWAY_V6, GUEST_MAC, GUEST_V4, GUEST_V6, PREFIX_V4, PREFIX_V6,
};
use crate::network::egress::Resolved;
use crate::network::{Connection, dns};
use crate::record::Record;
use crate::{MachineSpec, Result};
use images::oci::RunConfig;

/// Bytes of entropy: what the kernel's generator is seeded with in full (Linux, drivers/char/random.c: 256 bits), with some
/// to spare.
const ENTROPY: usize = 64;

/// `image` is what the image says of itself, `disks` are the volumes that have one.
pub(super) fn config(
    record: &Record,
    image: &RunConfig,
    keys: &Keys,
    root: Root,
    disks: Vec<Volume>,
    connection: Option<&Connection>,
) -> Result<Config> {
    let spec = &record.spec;
    Ok(Config {
        version: VERSION,
        hostname: record.hostname(),
        host_key: keys.host_key.clone(),
        authorized_keys: authorized(spec, keys),
        user_keys: spec.user_keys,
        clock_ns: clock_ns(),
        entropy: entropy()?,
        root,
        network: connection.map(|connection| network(spec, connection)),
        entrypoint: image::entrypoint(spec, image),
        init: spec.init,
        stop_grace_ms: spec.stop_grace_ms,
        env: image::env(spec, image),
        read_only: spec.read_only,
        volumes: image::volumes(image, disks),
        health: image::health(spec, image),
    })
}

/// What makes a guest out of a snapshot this machine's.
pub(super) fn renewal(record: &Record, keys: &Keys, connection: Option<&Connection>) -> Result<Renewal> {
    let spec = &record.spec;
    Ok(Renewal {
        hostname: record.hostname(),
        host_key: keys.host_key.clone(),
        authorized_keys: authorized(spec, keys),
        clock_ns: clock_ns(),
        entropy: entropy()?,
        machine_id: uuid::Uuid::new_v4().simple().to_string(),
        network: connection.map(|connection| network(spec, connection)),
    })
}

fn authorized(spec: &MachineSpec, keys: &Keys) -> Vec<String> {
    let own = std::iter::once(&keys.authorized);
    own.chain(&spec.ssh_keys).cloned().collect()
}

/// The wall clock, nanoseconds since the Unix epoch.
pub(crate) fn clock_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Fresh random bytes, hexadecimal.
fn entropy() -> Result<String> {
    let mut entropy = [0; ENTROPY];
    fill_random(&mut entropy)?;
    Ok(entropy.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn network(spec: &MachineSpec, connection: &Connection) -> Network {
    let mut network = with_policy(connection.ipv6(), connection.policy.as_ref());
    if let (Some(mac), Some(interface)) = (spec.mac, network.interfaces.first_mut()) {
        interface.mac = mac.to_string();
    }
    network
}

fn with_policy(ipv6: bool, policy: Option<&Resolved>) -> Network {
    let mut resolver = dns::of_host(ipv6);
    if let Some(policy) = policy {
        // Those that it reaches.
        resolver.servers.clone_from(&policy.egress.servers);
    }
    Network {
        interfaces: vec![interface(ipv6)],
        dns: resolver.servers,
        search: resolver.search,
        pins: policy.map(|policy| policy.pins.clone()).unwrap_or_default(),
    }
}

/// The same for every machine that asks for nothing else.
pub(super) fn interface(ipv6: bool) -> Interface {
    let v4 = (
        IpAddr::V4(GUEST_V4),
        PREFIX_V4,
        IpAddr::V4(GATEWAY_V4),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    );
    let v6 = (
        IpAddr::V6(GUEST_V6),
        PREFIX_V6,
        IpAddr::V6(GATEWAY_V6),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    );
    let families = [Some(v4), ipv6.then_some(v6)];
    let mut interface = Interface {
        name: INTERFACE.to_owned(),
        mac: GUEST_MAC.to_string(),
        addresses: Vec::new(),
        routes: Vec::new(),
        mtu: None,
    };
    for (address, length, gateway, any) in families.into_iter().flatten() {
        interface.addresses.push(format!("{address}/{length}"));
        interface.routes.push(Route {
            destination: format!("{any}/0"),
            gateway,
        });
    }
    interface
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MachineSpec;

    #[test]
    fn both_families_with_their_routes() {
        let network = with_policy(true, None);
        let json = serde_json::to_value(&network.interfaces).unwrap();
        let expected = serde_json::json!([{
            "name": "eth0",
            "mac": "aa:fc:00:00:00:01",
            "addresses": ["10.255.255.254/30", "fd6b:6e61:6c6c:6572::2/64"],
            "routes": [
                {"destination": "0.0.0.0/0", "gateway": "10.255.255.253"},
                {"destination": "::/0", "gateway": "fd6b:6e61:6c6c:6572::1"},
            ],
            "mtu": null,
        }]);
        assert_eq!(json, expected);
        assert!(!network.dns.is_empty() && network.dns.iter().all(|address| !address.is_loopback()));
    }

    #[test]
    fn under_a_policy_it_has_the_name_servers_that_it_reaches() {
        let deny = Resolved::new(
            &["deny".parse().unwrap(), "dns=localhost".parse().unwrap()],
            false,
        )
        .unwrap();
        let network = with_policy(false, Some(&deny));
        assert!(network.dns.is_empty());
        assert_eq!(network.pins[0].name, "localhost");
        let open = Resolved::new(&[], false).unwrap();
        assert!(!with_policy(false, Some(&open)).dns.is_empty());
    }

    #[test]
    fn no_two_boots_get_the_same_entropy() {
        let record = Record::new("web".parse().unwrap(), "/r".into(), MachineSpec::new());
        let keys = Keys {
            host_key: "k".into(),
            authorized: "a".into(),
        };
        let [one, two] = [0, 1].map(|_| {
            config(
                &record,
                &RunConfig::default(),
                &keys,
                Root::Initramfs,
                Vec::new(),
                None,
            )
            .unwrap()
        });
        assert_ne!(one.entropy, two.entropy);
        assert_eq!(one.entropy.len(), 2 * ENTROPY);
        assert_eq!(one.authorized_keys, ["a"]);
    }
}
