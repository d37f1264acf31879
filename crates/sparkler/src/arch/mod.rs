//! What differs between processor architectures, and nothing else in the crate does.
//!
//! Invariant: both modules offer the same items; which one is compiled in is decided here alone. A guest has the
//! architecture of the host.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use self::aarch64::*;
#[cfg(target_arch = "x86_64")]
pub use self::x86_64::*;
