//! Real machines, by the library.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod access;
mod crash;
mod crowd;
mod differences;
mod direct;
mod doctor;
mod embed;
mod events;
mod failures;
mod forwards;
mod jail;
mod life;
mod limits;
mod network;
mod raw_disk;
mod snapshots;
mod stopping;
mod supervision;
mod support;
mod user;
mod warm;
