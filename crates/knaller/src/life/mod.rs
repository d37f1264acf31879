//! What happens to a machine between its start and its end.

mod adopt;
mod events;
mod forwards;
mod pause;
mod rename;
mod stats;
mod update;

pub use adopt::{Adopted, Adoption};
pub(crate) use adopt::{adopt, adopt_all};
pub use events::{Event, EventKind, Events};
pub(crate) use pause::{pause, resume, unless_paused};
pub(crate) use rename::{follow, is_anothers, is_unfinished, rename};
pub(crate) use stats::stats;
pub use stats::{Stats, Traffic, Usage};
pub use update::{Change, Update, Updated};
pub(crate) use update::{heal_limits, others, update};
