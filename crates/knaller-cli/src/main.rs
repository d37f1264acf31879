//! The command `knaller`: see [`knaller_cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    knaller_cli::run(std::env::args_os())
}
