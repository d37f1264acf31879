//! What the guest has: each device's configuration and what QEMU is told to make it.

pub mod drive;
pub mod entropy;
pub mod tap;
pub mod throttle;
