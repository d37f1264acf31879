//! Starting a machine.

mod event;

pub use event::{Side, StartEvent, Step, Timeline};

/// How far [`crate::Knaller::start`] goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Until the guest has its config: it boots on by itself from there. The earliest end there is, since the config is
    /// handed over by the calling process.
    Config,
    /// Until SSH answers and the guest has said that all is up.
    #[default]
    Ready,
}

/// Options of a start that are not the machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartOptions {
    pub wait: Wait,
}
