//! What happens to a machine between its start and its end.

mod pause;

pub(crate) use pause::{pause, resume};
