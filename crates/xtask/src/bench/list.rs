//! `knaller list` of 50 VMs, for which 50 real ones run.

use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::RUNS;
use super::ground::{Ground, quiet};
use super::report::{Row, median};

const VMS: usize = 50;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let names: Vec<_> = (0..VMS).map(|number| format!("list-{number}")).collect();
    for name in &names {
        let start = ["start", name, "--detach", "--network", "none", "--memory", "128"];
        quiet(&mut ground.knaller(&start))?;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let start = Instant::now();
        quiet(&mut ground.knaller(&["list", "-o", "json"]))?;
        ours.push(start.elapsed());
        let start = Instant::now();
        // The least a tool written in shell can do: ask every socket, one after another.
        let ask =
            "for s in \"$1\"/knaller/*/api.sock; do curl -s --unix-socket \"$s\" http://localhost/; done";
        quiet(Command::new("sh").args(["-c", ask, "ask"]).arg(&ground.runtime))?;
        theirs.push(start.elapsed());
    }
    for name in &names {
        ground.removed(name)?;
    }
    let mut row = Row::times(
        "`knaller list` of 50 VMs",
        median(ours),
        "curl to each socket",
        median(theirs),
        1.0,
    );
    row.budget = None;
    Ok(vec![row])
}
