//! The command with real microVMs, from end to end: each test has folders of its own and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod commit;
mod damage;
mod differences;
mod direct;
mod errors;
mod faults;
mod filters;
mod firewall;
mod guides;
mod image_command;
mod images;
mod lan;
mod life;
mod limits;
mod login;
mod network;
mod openssh;
mod processes;
mod run;
mod shapes;
mod snapshots;
mod supervise;
mod system;
mod systemd;
mod volumes;
mod world;
