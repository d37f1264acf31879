//! `knaller-netns PLAN PROGRAM [ARGUMENT…]`: sets up the network namespace it is in and becomes PROGRAM. Started by
//! knaller through pasta; of no use by hand.

use std::path::Path;
use std::process::ExitCode;

use knaller::netns;

#[allow(clippy::print_stderr, reason = "its standard error is the VMM's log")]
fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(plan), Some(program)) = (arguments.next(), arguments.next()) else {
        eprintln!("knaller-netns: a plan and a program are wanted");
        return ExitCode::from(2);
    };
    let plan = match serde_json::from_slice(plan.as_encoded_bytes()) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("knaller-netns: no plan: {error}");
            return ExitCode::from(2);
        }
    };
    let rest: Vec<_> = arguments.collect();
    let Err(error) = netns::run(&plan, Path::new(&program), &rest);
    eprintln!("knaller-netns: {error}");
    ExitCode::FAILURE
}
