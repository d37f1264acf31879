//! QEMU as a child process: its command line, its life, its control socket.

pub mod qmp;
