//! The specifications' own terms: references, digests, platforms, manifests, indexes, configurations.
//!
//! The invariant: a value of these types keeps the limits and forms that the rest relies on, whoever wrote the JSON; what the
//! specifications let vary reads as one value. Content is stored and passed on byte for byte as it came: these types are for
//! reading it, and for writing what is new.
//!
//! Why not the types of the `oci-spec` crate: its configuration has no health check (Docker's field), and needs an
//! architecture and an operating system that imported images lack; a document that is a manifest and an index at once
//! reads as either (CVE-2021-41190); there are no limits.

mod config;
mod descriptor;
mod digest;
mod healthcheck;
mod lenient;
mod manifest;
pub mod media_type;
mod platform;
mod reference;
mod select;
mod walk;

pub use config::{ConfigError, ExposedPort, History, ImageConfig, MAX_CONFIG, Protocol, RunConfig};
pub use descriptor::{Descriptor, REF_NAME};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use healthcheck::Healthcheck;
pub use manifest::{Document, Index, MAX_ENTRIES, MAX_LAYERS, MAX_MANIFEST, Manifest, ManifestError};
pub use media_type::LayerTypeError;
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use select::NoPlatform;
pub use walk::{Walk, WalkError};
