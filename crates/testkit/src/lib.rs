//! What the tests of every crate share: a [`Sandbox`] that proves nothing was left behind, the programs under test, a
//! guest kernel, Debian root file systems, an ordinary user, and a way to skip by name, a terminal.
//!
//! Testkit knows no other crate of the workspace, so any of them may use it in its tests.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "only tests run it: a panic is how they fail"
)]

mod apart;
mod cgroup;
mod docker_registry;
#[cfg(target_arch = "x86_64")]
pub mod faults;
#[cfg(feature = "images")]
pub mod images;
mod kernel;
mod leaks;
mod loop_device;
mod programs;
#[cfg(feature = "registry")]
pub mod registry;
mod rootfs;
mod run;
mod sandbox;
mod skip;
mod store;
mod terminal;
mod user;

pub use apart::{Apart, stay};
pub use cgroup::{ControlGroup, control_group_of, inhabitant};
pub use docker_registry::DockerRegistry;
pub use kernel::{kernel_package, kernel_root};
pub use leaks::{Leak, Process};
pub use loop_device::LoopDevice;
pub use programs::{knaller, netns_helper, powerunit, sparkler, target};
pub use rootfs::{Debian, debian};
pub use run::{PATIENCE, Ran, end, run, run_with, signal};
pub use sandbox::Sandbox;
pub use skip::{have, is_root, skip};
pub use store::import_kernel;
pub use terminal::Terminal;
pub use user::{ORDINARY_USER, give_away, ordinary_user};
