//! The socket device between guest and host.

use serde::{Deserialize, Serialize};

/// A virtio-vsock device over Unix sockets: the body of `PUT /vsock`.
///
/// The host connects to `uds_path`, writes `CONNECT PORT\n` and reads `OK HOST_PORT\n`; a guest that connects to the
/// host's port N reaches whoever listens on `uds_path_N` (`docs/vsock.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(deny_unknown_fields, expecting = "struct VsockDeviceConfig")]
pub struct Vsock {
    /// Deprecated since 1.0 and without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock_id: Option<String>,
    /// The guest's context id, 3 or more: 0 to 2 are reserved (vsock(7)).
    pub guest_cid: u32,
    /// The socket the server makes; at most 107 bytes, and it must not exist.
    pub uds_path: String,
}
