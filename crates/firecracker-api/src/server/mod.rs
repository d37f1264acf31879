//! The answering side: what a request asks for, whether it may be asked now, and how the answer looks.
//!
//! The invariant: for the same bytes and the same state a client cannot tell this server from Firecracker 1.17
//! (`src/firecracker/src/api_server/`, `src/vmm/src/rpc_interface.rs`, and `micro-http` below them). The steps are pure
//! functions, in the order in which Firecracker judges:
//!
//! 1. [`route()`]: method, path and body to an [`ApiRequest`], or the [`Fault`] it deserves;
//! 2. [`ApiRequest::admit`]: may it be asked in this state at all;
//! 3. [`rules`]: what can be said about the values without touching a file or a device;
//! 4. [`Answer`]: the result, as bytes.
//!
//! [`serve`] puts HTTP around them. Firecracker carries requests out one at a time; so does [`serve`].
//!
//! Known differences: bodies sent in chunks are understood, lines of a request may be longer than 1,024 bytes,
//! `HEAD` and other methods are refused only after their headers were read, and a request that is no HTTP at all is
//! answered with a bare status 400.

mod answer;
mod fault;
mod http;
mod request;
mod route;
pub mod rules;
mod service;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use fault::Fault;
pub use request::{ApiRequest, DeviceKind, SnapshotLoad};
pub use route::{Method, Routed, route};
pub use service::{Handler, Limits, serve};
