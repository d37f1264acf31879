//! How a machine reaches the world.

pub(crate) mod addresses;
