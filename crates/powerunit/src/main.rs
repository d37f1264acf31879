//! `powerunit`: the init of a Pitwall guest.

use std::process::ExitCode;

#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "said to whoever started it"
)]
fn main() -> ExitCode {
    if rustix::process::getpid().is_init() {
        powerunit::init::run();
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == powerunit::ssh::SFTP_SERVER)
    {
        return match powerunit::ssh::sftp::serve_standard_streams() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("powerunit: sftp: {error}");
                ExitCode::FAILURE
            }
        };
    }
    println!(
        "powerunit {} is the init of a microVM: it runs as its process 1.",
        env!("CARGO_PKG_VERSION")
    );
    ExitCode::FAILURE
}
