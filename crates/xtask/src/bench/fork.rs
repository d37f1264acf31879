//! Ten machines made of one that runs, against one made of it: how long until SSH answers in all, and what memory they take.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::ground::{Ground, quiet, told};
use super::report::{Row, median};

const FORKS: usize = 10;
const TURNS: usize = 5;

/// What ten may take of one.
const BUDGET: f64 = 2.0;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    ground.started("fork", &[])?;
    let (mut one, mut ten) = (Vec::new(), Vec::new());
    let (mut of_one, mut of_ten) = (0, 0);
    for _ in 0..TURNS {
        let (took, memory) = forked(ground, 1)?;
        one.push(took);
        of_one = memory;
        let (took, memory) = forked(ground, FORKS)?;
        ten.push(took);
        of_ten = memory;
    }
    ground.removed("fork")?;
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let mut memory = Row::figure(
        "memory of ten idle forks, proportional set size",
        mib(of_ten),
        &format!("of one: {}", mib(of_one)),
    );
    memory.ratio = Some(of_ten as f64 / of_one as f64);
    memory.budget = Some(BUDGET);
    Ok(vec![
        Row::times(
            "ten forks of a machine, to SSH ready",
            median(ten),
            "one",
            median(one),
            BUDGET,
        ),
        memory,
    ])
}

/// How long so many forks took, and the memory of all their processes in bytes.
fn forked(ground: &Ground, count: usize) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let names = told(&mut ground.knaller(&["fork", "fork", "-n", &count.to_string(), "--output", "name"]))?;
    let took = start.elapsed();
    let names: Vec<_> = names.lines().collect();
    ensure!(names.len() == count, "{count} forks are called {names:?}");
    let stats = told(
        ground
            .knaller(&["stats", "--no-stream", "-o", "json"])
            .args(&names),
    )?;
    let stats: Vec<serde_json::Value> = serde_json::from_str(&stats)?;
    let memory = stats
        .iter()
        .filter_map(|machine| machine["usage"]["memory"].as_u64());
    let memory = memory.sum();
    quiet(ground.knaller(&["rm", "--force"]).args(&names))?;
    Ok((took, memory))
}
