//! Templates: guests frozen while they waited for their config, which later starts thaw instead of booting.
//!
//! The invariant: a template is of no machine. Its guest has mounted nothing, knows no image, no name and no key, so that
//! one serves every machine of its [`Shape`], also of an image that was never started before.
//!
//! ```text
//! DATA/templates/KEY/state           the VMM's
//! DATA/templates/KEY/memory          the guest's, sparse: mapped by every machine made of it, never written to
//! DATA/templates/KEY/template.json   what it is, written last; its time is that of its last use
//! DATA/templates/.new-KEY/           one in the making, locked by its maker
//! ```
//!
//! Nothing here is synced to the disk: a [`Shape`] names the boot of the host, so what a power cut may have torn is never
//! looked at again.

mod make;
mod shape;
mod store;

pub(crate) use make::make;
pub(crate) use shape::{Drive, Program, Shape, host};
pub use store::TemplateInfo;
pub(crate) use store::{Found, Maker, Template, Templates};
