//! Metrics of each device of a kind, and their sum.
//!
//! Invariant: the sum's fields are the sums of the devices' fields; a machine without such a device has the sum alone.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::count::Told;
use super::groups::{Block, Net};

/// A group that is kept per device.
pub(crate) trait Kind: Told + Default + Serialize {
    /// The name of the sum, and the start of each device's name.
    const NAME: &'static str;
}

impl Kind for Block {
    const NAME: &'static str = "block";
}

impl Kind for Net {
    const NAME: &'static str = "net";
}

/// The metrics of all devices of a kind.
#[derive(Debug, Default)]
pub(crate) struct PerDevice<K> {
    devices: BTreeMap<String, K>,
}

impl<K: Kind> PerDevice<K> {
    /// The metrics of one device, by its id.
    pub(crate) fn of(&mut self, id: &str) -> &mut K {
        self.devices.entry(id.to_owned()).or_default()
    }

    /// A line with these has been written.
    pub(crate) fn told(&mut self) {
        self.devices.values_mut().for_each(Told::told);
    }
}

impl<K: Kind> Serialize for PerDevice<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.devices.len() + 1))?;
        let mut sum = K::default();
        for (id, device) in &self.devices {
            sum.absorb(device);
            map.serialize_entry(&format!("{}_{id}", K::NAME), device)?;
        }
        map.serialize_entry(K::NAME, &sum)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_stand_beside_their_sum() {
        let mut block = PerDevice::<Block>::default();
        block.of("root").read_count.set(3);
        block.of("data").read_count.set(4);
        let value = serde_json::to_value(&block).unwrap();
        let reads = |name: &str| value[name]["read_count"].as_u64();
        let seen = ["block_root", "block_data", "block"].map(reads);
        assert_eq!(seen, [Some(3), Some(4), Some(7)]);
        block.told();
        assert_eq!(serde_json::to_value(&block).unwrap()["block"]["read_count"], 0);
    }
}
