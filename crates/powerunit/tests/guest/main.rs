//! powerunit as process 1 of real guests, run by sparkler: everything that only a kernel can say is right.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod dialogue;
mod door;
mod entrypoint;
mod freeze;
mod guest;
mod health;
mod images;
mod life;
mod network;
mod renewal;
mod roots;
mod volumes;
