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
