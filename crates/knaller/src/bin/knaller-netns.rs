//! `knaller-netns ORDERS PROGRAM [ARGUMENT…]`: sets up the network namespace it is in, and a jail, and becomes PROGRAM there.
//! Started by knaller, through pasta where there is a network; of no use by hand.

use std::path::Path;
use std::process::ExitCode;

use knaller::helper;

#[allow(clippy::print_stderr, reason = "its standard error is the VMM's log")]
fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(orders), Some(program)) = (arguments.next(), arguments.next()) else {
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
