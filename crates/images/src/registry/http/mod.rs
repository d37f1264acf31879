//! Requests to registries.
//!
//! The invariant: what identifies the user goes to the registry's own origin (scheme, host and port) and to the token
//! server it names, and never along a redirect to another; nothing goes from TLS to plain HTTP; every answer has a
//! limit in size and time.

mod answer;
mod challenge;
mod names;
mod retry;
mod session;
mod token;
mod transport;

pub(super) use answer::{content_range, expect, read_body};
pub use challenge::{Challenge, parse as parse_challenge};
pub(super) use names::NoAddress;
pub use retry::retry_after;
pub(super) use retry::{Failures, Trouble, persistently};
pub(super) use session::Session;
pub(super) use transport::{Content, Request, Transport, broken, check_downgrade, location};
