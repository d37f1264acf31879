//! The memory of one VM's processes that is not QEMU's: pasta and sparkler.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::report::Row;
use super::stage::Stage;

pub(super) fn measure(stage: &Stage) -> Result<Vec<Row>> {
    stage.started("memory", &[])?;
    let shares = shares(&stage.runtime);
    stage.removed("memory")?;
    let shares = shares?;
    ensure!(
        shares.iter().any(|(name, _)| name.contains("qemu")),
        "no QEMU among {shares:?}"
    );
    let rows = shares.iter().map(|(name, kib)| {
        Row::figure(
            &format!("memory of `{name}`, one VM"),
            format!("{:.1} MiB", *kib as f64 / 1024.0),
            "proportional set size",
        )
    });
    Ok(rows.collect())
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
