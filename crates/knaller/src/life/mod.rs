//! What happens to a machine between its start and its end.

mod pause;
mod rename;

pub(crate) use pause::{pause, resume};
pub(crate) use rename::{follow, is_unfinished, rename};
