//! QEMU as a child process: its command line, its life, its control socket.

pub mod accel;
pub mod args;
pub mod end;
pub mod inside;
pub mod migratable;
pub mod process;
pub mod qmp;
pub mod remote;
