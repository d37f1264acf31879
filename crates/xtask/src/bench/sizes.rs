//! How large what ships is.

use anyhow::{Context, Result};

use super::ground::Ground;
use super::report::Row;

/// What the guest's init may weigh, in MiB.
const INIT_BUDGET: f64 = 6.0;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for binary in ["powerunit", "knaller", "sparkler", "knaller-netns"] {
        let path = ground.binaries.join(binary);
        let bytes = std::fs::metadata(&path)
            .with_context(|| format!("no {}", path.display()))?
            .len();
        let mib = bytes as f64 / 1024.0 / 1024.0;
        let mut row = Row::figure(&format!("size of `{binary}`"), format!("{mib:.2} MiB"), "");
        if binary == "powerunit" {
            row.against = format!("{INIT_BUDGET} MiB");
            row.ratio = Some(mib / INIT_BUDGET);
            row.budget = Some(1.0);
        }
        rows.push(row);
    }
    Ok(rows)
}
