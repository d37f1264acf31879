//! Images from and to a real registry, over a network that fails in every way a registry's does, checked with skopeo.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod auth;
mod faults;
mod hosts;
mod login;
mod pull;
mod push;
mod stored;
mod support;
