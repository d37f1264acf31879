//! Network interfaces.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::RateLimiter;

/// A network interface on a TAP device of the host: the body of `PUT /network-interfaces/{iface_id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct NetworkInterfaceConfig")]
pub struct NetworkInterface {
    /// Letters, digits and `_`; the same as in the request's path.
    pub iface_id: String,
    /// The TAP device's name in the server's network namespace; made if it is not there and the server may.
    pub host_dev_name: String,
    /// The guest's address; one of the guest's choosing when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_mac: Option<MacAddress>,
    /// Bytes, 68 to 65535; the guest's default when absent. Since 1.16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Limits on what the guest receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// Limits on what the guest sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// New limits for a running VM's interface: the body of `PATCH /network-interfaces/{iface_id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct NetworkInterfaceUpdateConfig")]
pub struct PartialNetworkInterface {
    /// The interface's id; the same as in the request's path.
    pub iface_id: String,
    /// New limits on what the guest receives, bucket by bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// New limits on what the guest sends, bucket by bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// An Ethernet address: six pairs of hexadecimal digits with colons, written in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct MacAddress(pub [u8; 6]);

/// A text is not an Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address: six pairs of hexadecimal digits with colons are wanted")]
pub struct InvalidMac(pub String);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            // `from_str_radix` takes a sign for the first digit (`+1`), and so does Firecracker.
            *byte = pairs
                .next()
                .filter(|pair| pair.len() == 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or_else(|| InvalidMac(text.to_owned()))?;
        }
        if pairs.next().is_some() {
            return Err(InvalidMac(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| D::Error::custom("The provided MAC address is invalid."))
    }
}
