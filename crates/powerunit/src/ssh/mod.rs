//! The SSH server of the guest, from sockets to programs.
//!
//! - [`protocol`] is the server's half of SSH 2 as pure functions and state machines.
//! - `server` accepts, `connection` moves bytes between a socket and the protocol, `hub`, `slot` and `channel` are what the
//!   tasks of a connection share: bounded queues with SSH's own flow control.
//! - `login` and `authorized_keys` decide who gets in; `identity` acts with a user's rights.
//! - `session` runs programs, `forward` connects sockets, [`sftp`] serves files in a process of the user's own.
//!
//! The invariant: no client can block another, its own other channels, or the server's memory; and everything that is
//! done in a user's name is done with that user's rights.
//!
//! # What is served
//!
//! | what | how |
//! |---|---|
//! | key exchange | mlkem768x25519-sha256, curve25519-sha256; strict (against prefix truncation); new keys when either side asks |
//! | ciphers | chacha20-poly1305, aes256-gcm, aes128-gcm (all with OpenSSH's names); no compression |
//! | host key | ssh-ed25519 |
//! | login | public keys only: ed25519, ECDSA on P-256 and P-384, RSA of 2,048 to 8,192 bits with SHA-2, security keys; host-bound |
//! | `authorized_keys` | every option of sshd(8) is honoured, but for those of certificates and host names in `from`, which refuse the key |
//! | sessions | shell, command, sftp; with and without a terminal; for the host, programs as the image runs its own ([`guest_protocol::exec`]); `env` but for names that change which code runs; signals, break, resizing |
//! | forwards | direct-tcpip, tcpip-forward, both also of Unix sockets (OpenSSH's extension); agents |
//! | SFTP | version 3 with OpenSSH's extensions |
//! | global | keepalives both ways, pings; for root the control subsystem ([`guest_protocol::control`]) |
//!
//! Not served: passwords, certificates, X11, tunnel devices, `~/.ssh/rc`, `/etc/motd`, P-521.

mod authorized_keys;
mod channel;
mod connection;
mod fd;
mod forward;
mod host_key;
mod hub;
mod identity;
mod login;
mod pattern;
mod peer;
pub mod protocol;
mod pump;
mod server;
mod session;
mod settings;
pub mod sftp;
mod slot;

pub use authorized_keys::{Entry, Permissions, Refused};
pub use host_key::{Error as HostKeyError, HostKey};
pub use server::serve;
pub use settings::{Limits, Settings};

/// The first argument with which this program serves SFTP on its standard input and output.
pub const SFTP_SERVER: &str = "sftp-server";
