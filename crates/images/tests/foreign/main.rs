//! Images that other tools made are imported, and other tools take what is exported.

#![allow(clippy::unwrap_used, reason = "a test's helpers")]

mod daemons;
mod exports;
mod forms;
mod killed;
mod sample;
mod trees;
