//! `powerunit`: the init of a Pitwall guest.

use std::process::ExitCode;

#[allow(clippy::print_stdout, reason = "said to whoever started it by mistake")]
fn main() -> ExitCode {
    if rustix::process::getpid().is_init() {
        powerunit::init::run();
    }
    println!(
        "powerunit {} is the init of a microVM: it runs as its process 1.",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::FAILURE
}
