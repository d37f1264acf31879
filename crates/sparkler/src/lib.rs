//! Sparkler: Firecracker's HTTP API, served over a QEMU microvm.
//!
//! Invariant: from outside (API, command line, log, metrics, exit codes, sockets) this is Firecracker; what QEMU
//! cannot do is refused with a text that says so, never pretended. The table of every field is in the crate's README.

pub mod arch;
pub mod boot;
pub mod cli;
pub mod config_file;
pub mod console;
pub mod counter;
pub mod devices;
pub mod exit;
pub mod keep;
pub mod logger;
pub mod memory;
pub mod metrics;
pub mod mmds;
pub mod net;
pub mod qemu;
pub mod rate;
pub mod rate_limiter;
pub mod run;
pub mod signals;
pub mod sink;
pub mod snapshot;
pub mod vm;
pub mod vsock;
