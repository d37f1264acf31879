//! Forwarded connections: RFC 4254 section 7, OpenSSH's Unix sockets (PROTOCOL, section 2.4) and agents.
//!
//! The invariant: every socket is connected, bound and removed with the rights of the user who is logged in.

pub(super) mod agent;
mod connect;
mod dns;
mod listen;
mod resolve;

pub(super) use connect::{Target, connect};
pub(super) use listen::{Listeners, Where};
