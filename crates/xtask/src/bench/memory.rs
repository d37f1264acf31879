//! The memory of one VM's processes that is not QEMU's: pasta and sparkler.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::ground::Ground;
use super::report::Row;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    ground.started("memory", &[])?;
    let shares = shares(&ground.runtime);
    ground.removed("memory")?;
    let shares = shares?;
    ensure!(
        shares.iter().any(|(name, _)| name.contains("qemu")),
        "no QEMU among {shares:?}"
    );
    let row = |what: &str, kib: u64| {
        let mib = format!("{:.1} MiB", kib as f64 / 1024.0);
        Row::figure(what, mib, "proportional set size")
    };
    let (qemu, beside): (Vec<_>, Vec<_>) = shares.iter().partition(|(name, _)| name.contains("qemu"));
    let mut rows = vec![row(
        "memory of one VM's processes beside QEMU",
        beside.iter().map(|(_, kib)| kib).sum(),
    )];
    rows.extend(
        beside
            .iter()
            .map(|(name, kib)| row(&format!("of which `{name}`"), *kib)),
    );
    rows.extend(
        qemu.iter()
            .map(|(_, kib)| row("QEMU itself, a guest of 256 MiB", *kib)),
    );
    Ok(rows)
}

/// Name and proportional set size in KiB of each process that belongs to the stage.
fn shares(runtime: &Path) -> Result<Vec<(String, u64)>> {
    let marker = runtime.to_string_lossy().into_owned();
    let mut shares = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let mentions = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&marker);
        let own = entry.file_name().to_string_lossy() == std::process::id().to_string();
        if own || !(mentions(&read("cmdline")) || mentions(&read("environ"))) {
            continue;
        }
        let name = String::from_utf8_lossy(&read("comm")).trim().to_owned();
        let rollup = String::from_utf8_lossy(&read("smaps_rollup")).into_owned();
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = pss.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok());
        shares.push((name.clone(), kib.with_context(|| format!("no Pss of {name}"))?));
    }
    shares.sort();
    Ok(shares)
}
