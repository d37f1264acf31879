//! How a machine reaches the world, and it the machine.

pub(crate) mod addresses;
pub(crate) mod dns;
pub(crate) mod lean;
pub(crate) mod own;
pub(crate) mod pasta;
pub(crate) mod ports;
pub(crate) mod routes;
