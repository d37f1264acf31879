//! Who is on the other end of a connection.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Tcp {
        client: SocketAddr,
        server: SocketAddr,
    },
    /// The host, over vsock: only it can reach the guest so.
    Vsock,
}

impl Peer {
    /// The client's address, if it has one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { client, .. } => Some(client.ip().to_canonical()),
            Self::Vsock => None,
        }
    }

    /// `SSH_CLIENT` and `SSH_CONNECTION`. Of a connection without addresses they say what sshd says of one.
    pub(super) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let (client, port, server, own_port) = match self {
            Self::Tcp { client, server } => {
                let text = |address: &SocketAddr| address.ip().to_canonical().to_string();
                (text(client), client.port(), text(server), server.port())
            }
            Self::Vsock => ("UNKNOWN".into(), u16::MAX, "UNKNOWN".into(), u16::MAX),
        };
        vec![
            ("SSH_CLIENT", format!("{client} {port} {own_port}").into()),
            (
                "SSH_CONNECTION",
                format!("{client} {port} {server} {own_port}").into(),
            ),
        ]
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { client, .. } => write!(f, "{}:{}", client.ip().to_canonical(), client.port()),
            Self::Vsock => f.write_str("vsock"),
        }
    }
}
