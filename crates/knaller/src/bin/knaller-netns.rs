//! `knaller-netns ORDERS PROGRAM [ARGUMENT…]`: sets up the network namespace it is in, and a jail, and becomes PROGRAM there.
//! Started by knaller, through pasta where there is a network; of no use by hand.
//!
//! `knaller-netns errand …`: does what its standard input says in the network of a machine that runs.

use std::path::Path;
use std::process::ExitCode;

use knaller::helper;

#[allow(clippy::print_stderr, reason = "its standard error is the VMM's log")]
fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    if first.as_ref().is_some_and(|word| word == helper::ERRAND) {
        return match helper::run_errand() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("knaller-netns: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let (Some(orders), Some(program)) = (first, arguments.next()) else {
        eprintln!("knaller-netns: orders and a program are wanted");
        return ExitCode::from(2);
    };
    let orders = match serde_json::from_slice(orders.as_encoded_bytes()) {
        Ok(orders) => orders,
        Err(error) => {
            eprintln!("knaller-netns: no orders: {error}");
            return ExitCode::from(2);
        }
    };
    let rest: Vec<_> = arguments.collect();
    let Err(error) = helper::run(&orders, Path::new(&program), &rest);
    eprintln!("knaller-netns: {error}");
    ExitCode::FAILURE
}
