//! How long a machine of 256 MiB stands still while a snapshot of it is taken, by its own account.

use std::time::Duration;

use anyhow::{Context, Result};

use super::RUNS;
use super::ground::{Ground, quiet, told};
use super::report::{Row, median, milliseconds};

const BUDGET: Duration = Duration::from_secs(1);

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    ground.started("snapshot", &[])?;
    let mut pauses = Vec::new();
    for _ in 0..RUNS {
        quiet(&mut ground.knaller(&["snapshot", "create", "snapshot", "--name", "kept"]))?;
        let inspect = ["snapshot", "inspect", "kept", "--output", "json"];
        let kept: serde_json::Value = serde_json::from_str(&told(&mut ground.knaller(&inspect))?)?;
        let paused = kept["paused_ms"].as_u64().context("a snapshot without a pause")?;
        pauses.push(Duration::from_millis(paused));
        quiet(&mut ground.knaller(&["snapshot", "rm", "kept"]))?;
    }
    ground.removed("snapshot")?;
    let pause = median(pauses);
    let mut row = Row::figure(
        "a machine of 256 MiB stands still for its snapshot",
        milliseconds(pause),
        &milliseconds(BUDGET),
    );
    row.ratio = Some(pause.as_secs_f64() / BUDGET.as_secs_f64());
    row.budget = Some(1.0);
    Ok(vec![row])
}
