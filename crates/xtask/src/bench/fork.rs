//! Machines made of one that runs: how long until SSH answers in all, and what memory they take; ten against one.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::ground::{Ground, quiet, told};
use super::plot::{Curve, Plot};
use super::report::{Row, median};

/// How many are made at once.
const COUNTS: [usize; 5] = [1, 2, 4, 7, 10];
const TURNS: usize = 5;

/// Why forks cost what they do without KVM.
const EMULATED: &str = "Forks without KVM: QEMU translates the code of each guest anew until SSH answers, and keeps the translation, so that \
    each fork has its own of what forks on KVM share or do not need.";

/// What ten may take of one.
const BUDGET: f64 = 2.0;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    ground.started("fork", &[])?;
    let mut times = COUNTS.map(|_| Vec::new());
    let mut memory = [0; COUNTS.len()];
    for _ in 0..TURNS {
        for ((count, times), memory) in COUNTS.iter().zip(&mut times).zip(&mut memory) {
            let (took, takes) = forked(ground, *count)?;
            times.push(took);
            *memory = takes;
        }
    }
    ground.removed("fork")?;
    let times = times.map(median);
    let ([one, .., ten], [of_one, .., of_ten]) = (times, memory);
    let mut time = Row::times("ten forks of a machine, to SSH ready", ten, "one", one, BUDGET);
    time.plot = Some(curve(
        "forks-time",
        "Forks of one machine, all reached by SSH",
        "ms",
        times.map(|time| time.as_secs_f64() * 1000.0),
    )?);
    let mib = memory.map(|bytes| bytes as f64 / f64::from(1 << 20));
    let told = |mib: f64| format!("{mib:.1} MiB");
    let ([one, .., ten], ratio) = (mib, of_ten as f64 / of_one as f64);
    let mut takes = Row::figure(
        "memory of ten idle forks, proportional set size",
        told(ten),
        &format!("of one: {}", told(one)),
    );
    takes.ratio = Some(ratio);
    takes.budget = Some(BUDGET);
    takes.note = (ground.accel == ["tcg", "max"]).then_some(EMULATED);
    takes.plot = Some(curve(
        "forks-memory",
        "Memory of idle forks of one machine of 256 MiB",
        "MiB",
        mib,
    )?);
    Ok(vec![time, takes])
}

/// What so many forks came to, and what they would if each cost as much as the first.
fn curve(name: &'static str, title: &str, unit: &str, of: [f64; COUNTS.len()]) -> Result<Plot> {
    let [first, ..] = of;
    let counts = COUNTS.map(|count| count as f64);
    let apart = counts.map(|count| (count, count * first));
    let measured = counts.into_iter().zip(of).collect();
    let curves = [
        Curve {
            label: "measured",
            points: measured,
        },
        Curve {
            label: "as many times the first",
            points: apart.to_vec(),
        },
    ];
    Plot::curves(name, title, ["forks", unit], &curves)
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
