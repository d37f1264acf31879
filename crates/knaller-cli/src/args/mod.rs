//! Arguments that several commands share, and how their texts become values.

pub(crate) mod environment;
pub(crate) mod file;
pub(crate) mod filter;
pub(crate) mod given;
pub(crate) mod grace;
pub(crate) mod limits;
pub(crate) mod mac;
pub(crate) mod machine;
pub(crate) mod rate;
pub(crate) mod size;
