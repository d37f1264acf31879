//! The metadata service inside the guest's network. Its contents are any JSON object and have no model.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::is_off;

/// Who may ask for metadata, and where: the body of `PUT /mmds/config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct MmdsConfig {
    /// Whether a session token is needed.
    #[serde(default)]
    pub version: MmdsVersion,
    /// Ids of the network interfaces that reach the service: at least one, all configured before.
    pub network_interfaces: Vec<String>,
    /// A link-local address between 169.254.1.0 and 169.254.254.255; 169.254.169.254 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<Ipv4Addr>,
    /// Answers as EC2's service does, in plain text whatever the request accepts. Since 1.13.
    #[serde(default, skip_serializing_if = "is_off")]
    pub imds_compat: bool,
}

impl MmdsConfig {
    /// Where the service answers when the configuration names no address.
    pub const DEFAULT_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
}

/// How the service tells its askers apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum MmdsVersion {
    /// Plain requests are answered. Deprecated since 1.1.
    #[default]
    V1,
    /// A token is fetched by PUT first and shown with each GET.
    V2,
}
