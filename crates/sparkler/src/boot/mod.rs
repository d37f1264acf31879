//! What the guest boots: the kernel image and its command line.

pub mod cmdline;
pub mod kernel;
