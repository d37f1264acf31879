//! Ports of the host that lead into a machine while the caller holds them open.

use std::net::SocketAddr;

/// A listening port. Dropping it closes the port and its connections.
#[derive(Debug)]
pub struct Forwarding {
    local: SocketAddr,
}

impl Forwarding {
    /// Where it listens.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits until the machine is no longer reachable.
    pub async fn ended(&mut self) {}
}
