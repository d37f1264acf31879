//! From an OCI archive on disk to a root file system that can be booted.
//!
//! Ours stores the archive's blobs beside that, and has all of it on the disk when it ends.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::rivals::{Room, tar2sqfs, unpack_and_mke2fs};
use super::subject::{Subject, emptied};
use super::timed;
use crate::bench::ground::{Ground, quiet};
use crate::bench::report::{Row, median};

/// What any image may take of memory, in MiB.
const MEMORY_BUDGET: f64 = 150.0;

pub(super) fn measure(ground: &Ground, subject: &Subject) -> Result<Vec<Row>> {
    let room = Room::of(&subject.root)?;
    let work = ground.data.join("work");
    let data = work.join("data");
    let (mut import, mut unpacked, mut packed) = (vec![], vec![], vec![]);
    let mut peak = 0;
    for turn in 0..subject.turns {
        emptied(&work)?;
        let (took, memory) = imported(ground, &data, subject)?;
        import.push(took);
        peak = peak.max(memory);
        if subject.all_of(turn) {
            emptied(&work)?;
            unpacked.push(timed(&mut unpack_and_mke2fs(&subject.layout, room, &work))?);
            emptied(&work)?;
            packed.push(timed(&mut tar2sqfs(&subject.merged, &work.join("root.sqfs")))?);
        }
    }
    std::fs::remove_dir_all(&work)?;
    let [import, unpacked, packed] = [import, unpacked, packed].map(median);
    let title = subject.title;
    let whole = format!("`knaller image import` of an OCI archive, root file system made ({title})");
    let mib = peak as f64 / 1024.0;
    let mut memory = Row::figure(
        &format!("memory of `knaller image import` at its peak ({title})"),
        format!("{mib:.1} MiB"),
        &format!("{MEMORY_BUDGET} MiB"),
    );
    memory.ratio = Some(mib / MEMORY_BUDGET);
    memory.budget = Some(1.0);
    Ok(vec![
        Row::times(&whole, import, "umoci unpack && mke2fs -d", unpacked, 1.0),
        Row::times(&whole, import, "tar2sqfs of the merged tar", packed, 1.0),
        memory,
    ])
}

/// Imports into an empty store: how long that took, and the most memory it had, in KiB.
fn imported(ground: &Ground, data: &Path, subject: &Subject) -> Result<(Duration, u64)> {
    quiet(&mut Command::new("sync"))?;
    let mut command = ground.command(Path::new("/usr/bin/time"));
    command
        .env("XDG_DATA_HOME", data)
        .args(["--format", "%M"])
        .arg(ground.binaries.join("knaller"))
        .args(["image", "import", "--quiet", "--name", subject.name])
        .arg(&subject.archive);
    let start = Instant::now();
    let ended = command.output().context("cannot start /usr/bin/time")?;
    let took = start.elapsed();
    let told = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{command:?}: {told}");
    let memory = told.lines().last().unwrap_or_default().parse();
    Ok((took, memory.with_context(|| format!("time says {told:?}"))?))
}
