//! 50 VMs at once on this machine, idle: how starting slows down as they become more, what each takes, how long `knaller list`
//! takes, and that nothing is left of them.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::RUNS;
use super::ground::{Ground, quiet, told};
use super::plot::{Curve, Plot};
use super::report::{Row, median, milliseconds};

const VMS: usize = 50;

/// How many of the first starts, and of the last, are compared.
const SOME: usize = 10;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let names: Vec<_> = (0..VMS).map(|number| format!("dense-{number}")).collect();
    // Keeps the guest of this shape, which all of them are thawed from.
    start(ground, "dense-first")?;
    ground.removed("dense-first")?;
    let all = Instant::now();
    let starts: Vec<Duration> = names
        .iter()
        .map(|name| start(ground, name))
        .collect::<Result<_>>()?;
    let all = all.elapsed();
    let mut first = slowdown(&starts, all);
    first.plot = Some(plot(&starts)?);
    let mut rows = vec![first, list(ground)?];
    rows.extend(taken(ground)?);
    let ending = Instant::now();
    quiet(&mut ground.knaller(&["stop", "--all"]))?;
    let ending = ending.elapsed();
    quiet(&mut ground.knaller(&["rm", "--all"]))?;
    nothing_left(ground, &names)?;
    rows.push(Row::figure(
        &format!("stop of {VMS} idle VMs, in order, all at once"),
        milliseconds(ending),
        "nothing is left of them",
    ));
    Ok(rows)
}

fn start(ground: &Ground, name: &str) -> Result<Duration> {
    let since = Instant::now();
    let words = ["start", name, "--detach", "--memory", "128", "--vmm", "sparkler"];
    quiet(&mut ground.knaller(&words))?;
    Ok(since.elapsed())
}

fn plot(starts: &[Duration]) -> Result<Plot> {
    let points = starts.iter().enumerate();
    let points = points.map(|(before, took)| (before as f64, took.as_secs_f64() * 1000.0));
    let curve = Curve {
        label: "start to SSH ready",
        points: points.collect(),
    };
    let title = format!("Starts beside idle VMs of 128 MiB, up to {VMS}");
    Plot::curves("density", &title, ["VMs that run already", "ms"], &[curve])
}

fn slowdown(starts: &[Duration], all: Duration) -> Row {
    let (first, last) = (&starts[..SOME], &starts[VMS - SOME..]);
    let mut row = Row::times(
        &format!(
            "start of the last {SOME} of {VMS} idle VMs of 128 MiB, {:.2} a second in all",
            VMS as f64 / all.as_secs_f64()
        ),
        median(last.to_vec()),
        &format!("the first {SOME}"),
        median(first.to_vec()),
        1.0,
    );
    row.budget = None;
    row
}

fn list(ground: &Ground) -> Result<Row> {
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
    let mut row = Row::times(
        &format!("`knaller list` of {VMS} VMs"),
        median(ours),
        "curl to each socket",
        median(theirs),
        1.0,
    );
    row.budget = None;
    Ok(row)
}

/// What one of them takes of the host: all its processes, pasta and QEMU too.
fn taken(ground: &Ground) -> Result<[Row; 2]> {
    let look = || -> Result<Vec<Value>> {
        let told = told(&mut ground.knaller(&["stats", "--no-stream", "-o", "json"]))?;
        let looked: Vec<Value> = serde_json::from_str(&told)?;
        ensure!(
            looked.len() == VMS,
            "{} VMs of {VMS} were looked at",
            looked.len()
        );
        Ok(looked)
    };
    let sum = |looked: &[Value], field: &str| -> Result<u64> {
        let values = looked.iter().map(|stats| stats["usage"][field].as_u64());
        let sum: Option<u64> = values.sum();
        sum.with_context(|| format!("no {field} in what stats says"))
    };
    let (before, since) = (look()?, Instant::now());
    let after = look()?;
    let used = sum(&after, "cpu_us")?.saturating_sub(sum(&before, "cpu_us")?);
    let share = used as f64 / since.elapsed().as_micros() as f64 / VMS as f64;
    let memory = sum(&after, "memory")? as f64 / VMS as f64 / f64::from(1 << 20);
    Ok([
        Row::figure(
            &format!("memory of one of {VMS} idle VMs of 128 MiB"),
            format!("{memory:.1} MiB"),
            "proportional set size of all its processes",
        ),
        Row::figure(
            &format!("CPU of one of {VMS} idle VMs, while `stats` asks it"),
            format!("{:.2} %", share * 100.0),
            "of one of the host's",
        ),
    ])
}

fn nothing_left(ground: &Ground, names: &[String]) -> Result<()> {
    for name in names {
        for folder in [ground.runtime.join("knaller"), ground.data.join("knaller/vms")] {
            let folder = folder.join(name);
            ensure!(!folder.exists(), "{} is left", folder.display());
        }
    }
    let runtime = ground.runtime.display().to_string();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        ensure!(!line.contains(&runtime), "a process is left: {line}");
    }
    Ok(())
}
