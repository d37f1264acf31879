use serde::{Deserialize, Serialize};

use crate::Network;

/// What makes a machine that was restored from another's snapshot a machine of its own. All of it is in force before any of
/// the guest's processes runs on, and before the guest takes a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// As [`crate::Config::hostname`].
    pub hostname: String,
    /// As [`crate::Config::host_key`].
    pub host_key: String,
    /// As [`crate::Config::authorized_keys`]: instead of those that the guest had.
    pub authorized_keys: Vec<String>,
    /// The host's wall clock when this was written, in nanoseconds since the Unix epoch.
    pub clock_ns: u64,
    /// As [`crate::Config::entropy`]. Without any, the guest draws the same random bytes as every other that was restored from
    /// the same snapshot.
    pub entropy: String,
    /// The content of /etc/machine-id: 32 hexadecimal digits in lower case (machine-id(5)). Empty: it stays.
    #[serde(default)]
    pub machine_id: String,
    /// What the interfaces are to have instead of the addresses and routes they had; an interface is found by its name, and
    /// gets [`crate::Interface::mac`] if that is another. Absent: the network stays as it is.
    #[serde(default)]
    pub network: Option<Network>,
}
