//! The guest's side of a Pitwall microVM: its init and its SSH server, in one static binary.
//!
//! Two processes, so that a fault in the one that strangers talk to never takes the machine down:
//!
//! - PID 1 ([`init`]) is small and has one thread. It prepares the machine, asks the host for the config, opens the
//!   SSH listeners, supervises the entrypoint and reaps orphans.
//! - The worker, forked from it, serves SSH on those listeners. If it dies, PID 1 forks another.
//!
//! What the SSH server may know of the machine, and ask of it, is [`machine`].

mod apart;
mod clock;
mod console;
mod dialogue;
mod figures;
mod files;
mod freeze;
mod health;
pub mod init;
mod interrupt;
mod launch;
mod link;
pub mod listen;
pub mod machine;
mod mount_table;
mod processes;
mod ps;
mod report;
mod signals;
pub mod ssh;
mod sys;
mod tree;
pub mod users;
mod worker;
