//! The dialogue between a guest that has just booted and the host that started it.
//!
//! One connection, made by the guest: a vsock stream to [`HOST_CID`], port [`CONFIG_PORT`] (Firecracker's
//! `uds_path_1024` on the host's side). Each side sends frames: a big-endian `u32` length, then that many bytes of
//! JSON (see [`frame`]).
//!
//! ```text
//! guest                                host
//!   | -- Hello ------------------------> |   first frame of every connection
//!   | -- Settled ----------------------> |   only while there is no answer
//!   | <----------------- Prepare ------- |   only of a guest that becomes a template, which settles once more
//!   | <------------------ Config ------- |   once in the life of a VM's boot
//!   | <------------------ Refused ------ |   to every later taker
//!   | -- Listening --------------------> |   the SSH listeners are open
//!   | -- Phase, Warning … -------------> |
//!   | -- Ready ------------------------> |   root, network and entrypoint are up
//!   | -- Exited … ---------------------> |   while the host still listens
//! ```
//!
//! The invariant: [`Config`] carries secrets (the SSH host key) and is handed out once per boot, so nothing that runs in
//! the guest later can ask for it again. The host may hang up after [`GuestMessage::Ready`]; from then on the
//! guest's exit status is read from its console ([`console`]).
//!
//! A guest that was frozen for a snapshot and has lost whoever froze it dials again, and asks whether it is still who it was:
//!
//! ```text
//! guest                                host
//!   | -- Hello (renewal) --------------> |
//!   | <------- Renew or Unchanged ------ |   it is a new machine, or the old one
//!   | -- Warning … --------------------> |
//!   | -- Ready ------------------------> |   its processes run on
//! ```
//!
//! Plain data and pure functions only: no I/O.

mod config;
pub mod console;
pub mod exec;
pub mod frame;
mod health;
mod message;
pub mod names;
mod renewal;
mod volume;

pub use config::{
    Config, Disk, Entrypoint, Init, Interface, MAX_VOLUMES, Network, Pin, Root, Route, is_hostname,
};
pub use health::{Health, HealthTest};
pub use message::{Exit, GuestMessage, Hello, HostMessage, Ready};
pub use renewal::Renewal;
pub use volume::{Volume, VolumeSource};

/// The version of this dialogue. A guest of another version is refused with both numbers in the text.
pub const VERSION: u16 = 1;

/// The vsock context id of the host, as every guest sees it (`VMADDR_CID_HOST`, vsock(7)).
pub const HOST_CID: u32 = 2;

/// The host's vsock port that hands out the config.
pub const CONFIG_PORT: u32 = 1024;

/// The guest's SSH port, on TCP and on vsock.
pub const SSH_PORT: u16 = 22;

/// The SSH subsystem through which root on the host asks the guest's init for a status or an orderly shutdown:
/// one JSON [`control::Request`] a line in, one [`control::Reply`] a line out.
pub const CONTROL_SUBSYSTEM: &str = "powerunit";

pub mod control;
