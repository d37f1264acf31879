//! `powerunit`: the init of a Pitwall guest.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
