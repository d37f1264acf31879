//! `knaller start` until SSH answers, of a guest that was kept, against a boot of the same machine.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::ground::{Ground, told};
use super::images;
use super::plot::{Bar, Lane, Plot};
use super::report::{Row, median};
use super::{RUNS, Vmm};

/// What a warm start may take of a cold one.
const BUDGET: f64 = 1.0 / 5.0;

/// The image of a machine for which none is named.
const BUILTIN: &str = "builtin";

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    // Keeps the guest that all the warm ones are thawed from.
    ground.started("warm", &[])?;
    ground.removed("warm")?;
    let mut row = against_cold(ground, "the built-in image", BUILTIN, || Ok(()))?;
    row.plot = Some(timeline(ground)?);
    let mut rows = vec![row];
    if ground.vmm == Vmm::Sparkler {
        rows.extend(images::first(ground)?);
    }
    Ok(rows)
}

/// Turn by turn; `before` each start, and outside its time, the image is made ready.
pub(super) fn against_cold(
    ground: &Ground,
    title: &str,
    image: &str,
    before: impl Fn() -> Result<()>,
) -> Result<Row> {
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        before()?;
        cold.push(took(ground, &["--image", image, "--cold"], "cold")?);
        before()?;
        warm.push(took(ground, &["--image", image], "warm")?);
    }
    Ok(Row::times(
        &format!("warm start to SSH ready: {title}"),
        median(warm),
        "`--cold`",
        median(cold),
        BUDGET,
    ))
}

/// Where the time of a start goes, cold and warm.
fn timeline(ground: &Ground) -> Result<Plot> {
    let cold = Lane {
        label: "cold",
        bars: phases(ground, &["--cold"])?,
    };
    let warm = Lane {
        label: "warm",
        bars: phases(ground, &[])?,
    };
    Plot::timeline("start", "A start, from the command to its end", &[cold, warm])
}

fn phases(ground: &Ground, more: &[&str]) -> Result<Vec<Bar>> {
    let mut words = vec![
        "start",
        "warm",
        "--detach",
        "--memory",
        "256",
        "--timings",
        "-o",
        "json",
    ];
    words.extend(["--vmm", ground.vmm.name()].iter().chain(more));
    let started: serde_json::Value = serde_json::from_str(&told(&mut ground.knaller(&words))?)?;
    ground.removed("warm")?;
    let phases = started["timings"]["phases"]
        .as_array()
        .context("a start without phases")?;
    let bar = |phase: &serde_json::Value| {
        let name = phase["name"].as_str()?;
        let side = phase["side"].as_str()?;
        Some(Bar {
            label: if side == "guest" {
                format!("guest: {name}")
            } else {
                name.to_owned()
            },
            start: phase["start_us"].as_u64()? as f64 / 1000.0,
            took: phase["took_us"].as_u64()? as f64 / 1000.0,
            shade: usize::from(side == "guest"),
        })
    };
    let bars: Option<Vec<_>> = phases.iter().map(bar).collect();
    bars.context("a phase without a name or a time")
}

/// How long a start takes, which must have been of this kind: a warm one that fails is a cold one in the end.
fn took(ground: &Ground, more: &[&str], kind: &str) -> Result<Duration> {
    let start = Instant::now();
    ground.started("warm", more)?;
    let took = start.elapsed();
    let inspect = ["inspect", "warm", "--output", "json"];
    let machine: serde_json::Value = serde_json::from_str(&told(&mut ground.knaller(&inspect))?)?;
    ground.removed("warm")?;
    ensure!(
        machine["warm"] == (kind == "warm"),
        "a start with {more:?} was not {kind}"
    );
    Ok(took)
}
