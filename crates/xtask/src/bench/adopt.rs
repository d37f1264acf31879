//! How long a supervisor that was killed, and is started again, takes until it has all its machines back.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::RUNS;
use super::ground::{Ground, quiet};
use super::report::{Row, median, milliseconds};

const VMS: u32 = 20;

/// For each machine.
const BUDGET: Duration = Duration::from_millis(100);

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let names: Vec<_> = (0..VMS).map(|number| format!("adopt-{number}")).collect();
    for name in &names {
        let small = ["--detach", "--network", "none", "--memory", "128"];
        let start = ["start", name, "--restart", "always"];
        quiet(ground.knaller(&start).args(small))?;
    }
    let times: Result<Vec<_>> = (0..RUNS).map(|_| adoption(ground)).collect();
    for name in &names {
        ground.removed(name)?;
    }
    let each = median(times?) / VMS;
    let mut row = Row::figure(
        &format!("a supervisor killed with {VMS} VMs has them back, for each"),
        milliseconds(each),
        &milliseconds(BUDGET),
    );
    row.ratio = Some(each.as_secs_f64() / BUDGET.as_secs_f64());
    row.budget = Some(1.0);
    Ok(vec![row])
}

/// From its start until it has said of every machine that it has it; then it is killed.
fn adoption(ground: &Ground) -> Result<Duration> {
    let start = Instant::now();
    let mut supervisor = ground
        .knaller(&["supervise", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a supervisor")?;
    let lines = supervisor.stdout.take().context("a supervisor without output")?;
    let mut adopted = 0;
    for line in BufReader::new(lines).lines() {
        let told: serde_json::Value = serde_json::from_str(&line?)?;
        adopted += u32::from(told["event"] == "adopted");
        if adopted == VMS {
            break;
        }
    }
    let took = start.elapsed();
    supervisor.kill()?;
    supervisor.wait()?;
    ensure!(adopted == VMS, "only {adopted} of {VMS} machines were adopted");
    Ok(took)
}
