//! Firecracker's HTTP API, for both ends of the Unix socket.
//!
//! - [`models`]: the bodies, named as in Firecracker's OpenAPI file.
//! - [`Client`]: asks. One method per operation, named after it: [`Client::put_boot_source`] is `PUT /boot-source`.
//! - [`server`]: answers. Routing and judging as pure functions, and a loop that serves a socket with them.
//! - `contract` (with the feature of that name): judges any server of this API by its answers.
//!
//! The crate knows HTTP and JSON and nothing of processes, files or virtual machines. It follows Firecracker 1.17
//! and speaks with servers from 1.10 on: see the remarks on age in [`models`].

pub mod client;
#[cfg(feature = "contract")]
pub mod contract;
pub mod models;
pub mod server;

pub use client::{Client, Error};
