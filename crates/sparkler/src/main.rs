//! The command: Firecracker's own command line.

fn main() {}
