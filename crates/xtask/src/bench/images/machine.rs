//! Machines of images: what one more costs, and a command in one that is thrown away.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::subject::{Subject, emptied};
use super::timed;
use crate::bench::RUNS;
use crate::bench::ground::{Ground, quiet, told};
use crate::bench::report::{Row, median};
use crate::bench::warm::against_cold;
use crate::command::output;

/// What one more machine may cost of what a copy of its image would.
const NTH_BUDGET: f64 = 1.0 / 20.0;

/// What may be written for a machine's disk, in KiB.
const WRITTEN_BUDGET: f64 = 1024.0;

/// The disks of one more machine against a copy of its image.
pub(super) fn nth(ground: &Ground, subject: &Subject) -> Result<Vec<Row>> {
    subject.import(ground)?;
    let base = rootfs(ground, subject.name)?;
    let work = ground.data.join("work");
    let (mut disks, mut copies, mut written) = (vec![], vec![], 0);
    for _ in 0..RUNS {
        let start = [
            "start",
            "nth",
            "--image",
            subject.name,
            "--detach",
            "--vmm",
            "sparkler",
        ];
        let told = told(ground.knaller(&start).args(["--timings", "--output", "json"]))?;
        disks.push(phase(&told, "disks")?);
        let overlay = ground.data.join("knaller/vms/nth/overlay.ext4");
        written = written.max(std::fs::metadata(overlay)?.blocks() * 512);
        ground.removed("nth")?;
        emptied(&work)?;
        let copy = work.join("copy.ext4");
        copies.push(timed(
            Command::new("cp").arg("--reflink=auto").args([&base, &copy]),
        )?);
    }
    std::fs::remove_dir_all(&work)?;
    let title = subject.title;
    let kib = written as f64 / 1024.0;
    let mut size = Row::figure(
        &format!("written for it until SSH answers ({title})"),
        format!("{kib:.0} KiB"),
        &format!("{WRITTEN_BUDGET} KiB"),
    );
    size.ratio = Some(kib / WRITTEN_BUDGET);
    size.budget = Some(1.0);
    Ok(vec![
        Row::times(
            &format!("disks of one more VM of an image ({title})"),
            median(disks),
            "cp --reflink=auto of its root file system",
            median(copies),
            NTH_BUDGET,
        ),
        size,
    ])
}

/// `knaller run IMAGE true` against the same in three steps with the built-in image.
pub(super) fn run(ground: &Ground, subject: &Subject) -> Result<Vec<Row>> {
    subject.import(ground)?;
    let (mut ours, mut steps) = (vec![], vec![]);
    for _ in 0..RUNS {
        let start = Instant::now();
        ground.started("steps", &[])?;
        quiet(&mut ground.knaller(&["exec", "steps", "true"]))?;
        ground.removed("steps")?;
        steps.push(start.elapsed());
        let run = [
            "run",
            "--vmm",
            "sparkler",
            "--memory",
            "256",
            subject.name,
            "true",
        ];
        ours.push(timed(&mut ground.knaller(&run))?);
    }
    let mut row = Row::times(
        &format!("`knaller run IMAGE true` ({})", subject.title),
        median(ours),
        "start, exec and rm with the built-in image",
        median(steps),
        1.0,
    );
    row.budget = None;
    Ok(vec![row])
}

/// The first machine of an image: warm, by the guest that another image's machine left.
pub(super) fn first(ground: &Ground, subject: &Subject) -> Result<Vec<Row>> {
    let title = format!("an image never started before ({})", subject.title);
    subject.import(ground)?;
    let fresh = || {
        quiet(&mut ground.knaller(&["image", "rm", subject.name]))?;
        subject.import(ground)
    };
    Ok(vec![against_cold(ground, &title, subject.name, fresh)?])
}

/// The root file system that machines of the image lie over.
fn rootfs(ground: &Ground, name: &str) -> Result<PathBuf> {
    let told = output(&mut ground.knaller(&["image", "inspect", name, "--output", "json"]))?;
    let image: serde_json::Value = serde_json::from_str(&told)?;
    let path = image["rootfs"].as_str();
    Ok(path.context("an image without a root file system")?.into())
}

fn phase(told: &str, name: &str) -> Result<Duration> {
    let started: serde_json::Value = serde_json::from_str(told)?;
    let phases = started["timings"]["phases"].as_array();
    let phase = phases.and_then(|phases| phases.iter().find(|phase| phase["name"] == name));
    let took = phase.and_then(|phase| phase["took_us"].as_u64());
    Ok(Duration::from_micros(
        took.with_context(|| format!("no phase {name} in {told}"))?,
    ))
}
