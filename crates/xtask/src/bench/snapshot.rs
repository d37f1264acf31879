//! How long a machine of 256 MiB stands still while a snapshot of it is taken, by its own account: a whole one, and
//! what changed since the last.

use std::time::Duration;

use anyhow::{Context, Result};

use super::RUNS;
use super::ground::{Ground, quiet, told};
use super::report::{Row, median, milliseconds};

const BUDGET: Duration = Duration::from_secs(1);

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    // Firecracker has to be told that it is to keep account of what changes; sparkler need not.
    ground.started("snapshot", &["--track-dirty"])?;
    let (mut pauses, mut of_changes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        pauses.push(paused(ground, "kept", &[])?);
        of_changes.push(paused(ground, "changed", &["--diff"])?);
        quiet(&mut ground.knaller(&["snapshot", "rm", "--recursive", "kept"]))?;
    }
    ground.removed("snapshot")?;
    let (pause, of_changes) = (median(pauses), median(of_changes));
    let mut row = Row::figure(
        "a machine of 256 MiB stands still for its snapshot",
        milliseconds(pause),
        &milliseconds(BUDGET),
    );
    row.ratio = Some(pause.as_secs_f64() / BUDGET.as_secs_f64());
    row.budget = Some(1.0);
    let what = "the same for what changed since the last one";
    Ok(vec![row, Row::times(what, of_changes, "a whole one", pause, 1.0)])
}

/// Takes a snapshot, and gives how long the machine stood still.
fn paused(ground: &Ground, name: &str, how: &[&str]) -> Result<Duration> {
    let create = ["snapshot", "create", "snapshot", "--name", name];
    quiet(&mut ground.knaller(&[&create, how].concat()))?;
    let inspect = ["snapshot", "inspect", name, "--output", "json"];
    let kept: serde_json::Value = serde_json::from_str(&told(&mut ground.knaller(&inspect))?)?;
    let paused = kept["paused_ms"].as_u64().context("a snapshot without a pause")?;
    Ok(Duration::from_millis(paused))
}
