//! The guest's network: loopback and the interfaces of the config, set up through netlink.
//!
//! The invariant: all of the config's text is parsed before the first change; then each interface stands for itself.

mod netlink;
mod plan;

use std::path::Path;

use guest_protocol::Network;

use super::device;
use netlink::{Request, Socket};
use plan::{Invalid, Plan};

/// What did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("cannot open a netlink socket")]
    Open(#[source] std::io::Error),
    #[error("there is no network device{which}; the kernel has {present}")]
    NoDevice { which: String, present: String },
    #[error("cannot {action}")]
    Refused {
        action: String,
        #[source]
        source: std::io::Error,
    },
}

/// The devices of the kernel, as sysfs shows them.
const DEVICES: &str = "/sys/class/net";

/// Brings loopback up and sets up every interface of `network`: the device with its MAC address, or else the one with
/// its name, which gets the address. Gives everything that failed; the rest is in force.
pub(super) fn set_up(network: Option<&Network>) -> Vec<Error> {
    let mut errors = Vec::new();
    let plans: Vec<Plan> = network
        .iter()
        .flat_map(|network| &network.interfaces)
        .filter_map(|interface| Plan::parse(interface).map_err(|e| errors.push(e.into())).ok())
        .collect();
    let socket = match Socket::open() {
        Ok(socket) => socket,
        Err(e) => {
            errors.push(e);
            return errors;
        }
    };
    errors.extend(socket.make(netlink::up(LOOPBACK, "lo")).err());
    for plan in &plans {
        match Device::of(plan.mac).or_else(|e| Device::named(&plan.name).ok_or(e)) {
            Ok(device) => errors.extend(
                readdressed(&device, plan)
                    .chain(netlink::requests(device.index, &device.name, plan))
                    .filter_map(|request| socket.make(request).err()),
            ),
            Err(e) => errors.push(e),
        }
    }
    errors
}

/// Gives every interface of `after` what it is to have, instead of what it has of `before`. It is found by its name,
/// and gets the MAC address that it is to have. Gives everything that failed; the rest is in force.
pub(crate) fn renew(before: Option<&Network>, after: &Network) -> Vec<Error> {
    let mut errors = Vec::new();
    let socket = match Socket::open() {
        Ok(socket) => socket,
        Err(e) => return vec![e],
    };
    let before = plans(before);
    for interface in &after.interfaces {
        let plan = Plan::parse(interface).map_err(Error::from);
        let found = plan.and_then(|plan| {
            Ok((
                Device::named(&plan.name).map_or_else(|| Device::of(plan.mac), Ok)?,
                plan,
            ))
        });
        let (device, plan) = match found {
            Ok(found) => found,
            Err(e) => {
                errors.push(e);
                continue;
            }
        };
        let old = before.iter().find(|old| old.name == plan.name);
        for request in netlink::removals(device.index, &device.name, old, &plan) {
            // It may have gone long ago.
            let _ = socket.make(request);
        }
        let requests =
            readdressed(&device, &plan).chain(netlink::requests(device.index, &device.name, &plan));
        errors.extend(requests.filter_map(|request| socket.make(request).err()));
    }
    errors
}

/// What gives the device the MAC address that it is to have, if it has another.
fn readdressed(device: &Device, plan: &Plan) -> impl Iterator<Item = Request> {
    let mac = plan.mac.filter(|mac| device.mac() != Some(*mac));
    let requests = mac.map(|mac| netlink::readdress(device.index, &device.name, mac));
    requests.into_iter().flatten()
}

/// Whether no device for `network` is to be waited for.
pub(super) fn is_settled(network: Option<&Network>) -> bool {
    plans(network)
        .iter()
        .all(|plan| Device::of(plan.mac).is_ok() || Device::named(&plan.name).is_some())
}

/// Whether the kernel has everything for `network`: the devices' drivers and the address families.
pub(super) fn has_devices(network: Option<&Network>) -> bool {
    let six = plans(network)
        .iter()
        .flat_map(|plan| &plan.addresses)
        .any(|prefix| prefix.address.is_ipv6());
    is_settled(network) && (!six || Path::new("/proc/net/if_inet6").exists())
}

/// Those of the interfaces' texts that make sense.
fn plans(network: Option<&Network>) -> Vec<Plan> {
    let interfaces = network.map_or(&[][..], |network| &network.interfaces);
    interfaces
        .iter()
        .filter_map(|interface| Plan::parse(interface).ok())
        .collect()
}

/// The index of `lo` in every network namespace (`LOOPBACK_IFINDEX` of net/flow.h).
const LOOPBACK: u32 = 1;

/// A network device of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    index: u32,
    name: String,
}

impl Device {
    /// The device with that MAC address, or the first Ethernet device.
    fn of(mac: Option<[u8; 6]>) -> Result<Self, Error> {
        let devices = Path::new(DEVICES);
        Self::find(devices, mac).ok_or_else(|| Error::NoDevice {
            which: mac
                .map(|mac| format!(" with the MAC address {}", spell(mac)))
                .unwrap_or_default(),
            present: device::present(devices),
        })
    }

    fn named(name: &str) -> Option<Self> {
        let index = attribute(&Path::new(DEVICES).join(name), "ifindex")?;
        let (index, name) = (index.parse().ok()?, name.into());
        Some(Self { index, name })
    }

    fn mac(&self) -> Option<[u8; 6]> {
        let text = attribute(&Path::new(DEVICES).join(&self.name), "address")?;
        plan::parse_mac(&text).ok()
    }

    fn find(devices: &Path, mac: Option<[u8; 6]>) -> Option<Self> {
        let devices = std::fs::read_dir(devices).ok()?.flatten().filter_map(|entry| {
            let attribute = |name| attribute(&entry.path(), name);
            let ethernet = attribute("type")? == ETHERNET;
            let wanted = mac
                .is_none_or(|mac| attribute("address").is_some_and(|text| plan::parse_mac(&text) == Ok(mac)));
            let index = attribute("ifindex")?.parse().ok()?;
            let name = entry.file_name().into_string().ok()?;
            (ethernet && wanted).then_some(Self { index, name })
        });
        devices.min_by_key(|device| device.index)
    }
}

/// What sysfs says of a device.
fn attribute(device: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(device.join(name)).ok()?;
    Some(text.trim().to_owned())
}

/// `ARPHRD_ETHER` of linux/if_arp.h.
const ETHERNET: &str = "1";

fn spell(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_address_or_by_age() {
        let folder = tempfile::tempdir().unwrap();
        for (name, kind, index, address) in [
            ("lo", "772", "1", "00:00:00:00:00:00"),
            ("eth1", "1", "3", "06:00:ac:10:00:03"),
            ("eth0", "1", "2", "06:00:ac:10:00:02"),
        ] {
            let device = folder.path().join(name);
            std::fs::create_dir(&device).unwrap();
            for (attribute, value) in [("type", kind), ("ifindex", index), ("address", address)] {
                std::fs::write(device.join(attribute), format!("{value}\n")).unwrap();
            }
        }
        let find = |mac| Device::find(folder.path(), mac).map(|device| (device.index, device.name));
        assert_eq!(find(None), Some((2, "eth0".into())));
        assert_eq!(find(Some([6, 0, 0xac, 0x10, 0, 3])), Some((3, "eth1".into())));
        assert_eq!(find(Some([0; 6])), None);
    }
}
