//! The SSH server against stock clients, on this machine's loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod exec;
mod forward;
mod image;
mod keys;
mod limits;
mod machine;
mod server;
mod sftp;
mod terminal;
mod tools;
