//! Sparkler as a process, with real guests: what a client, a terminal and the kernel see of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "only tests use this"
)]

mod cli;
mod console;
mod contract;
mod drives;
mod foreign;
mod guest;
mod http;
mod life;
mod machine;
mod network;
mod observe;
mod requests;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;
mod vsock;
