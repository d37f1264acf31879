//! Kernel modules: which of them a guest needs, and in what order they load.
//!
//! The invariant: a load order holds every module behind all it depends on, each one once, and nothing that is built
//! in. What the kernel package says (`modules.dep`, `modules.builtin`, a module's own `.modinfo`) is foreign text: parsed under
//! limits, and its paths never leave the folder of modules.

mod folder;
mod index;
mod info;
mod needs;
mod resolve;
mod set;

pub(crate) use folder::unpack_module;
pub use folder::{FolderError, ModuleFolder};
pub use index::{ParseError, module_name, parse_builtin, parse_dep};
pub use info::{ModuleInfo, read_info};
pub use needs::{Feature, NEEDS, Need};
pub(crate) use needs::{LIKELY, needed};
pub use resolve::{ResolveError, load_order};
pub(crate) use set::{MemoryModules, Modules};

/// The largest module accepted, unpacked. Debian's largest (`amdgpu`) has 20 MiB.
pub const MAX_MODULE: u64 = 64 << 20;

/// The largest `modules.dep` or `modules.builtin` accepted. Debian's have 0.5 MiB.
pub(crate) const MAX_INDEX: u64 = 32 << 20;
