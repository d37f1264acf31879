//! The memory of one VM's processes that is not QEMU's: pasta and sparkler. The VM booted: what a warm one has in memory is
//! partly the template's.

use anyhow::{Context, Result, ensure};

use super::ground::Ground;
use super::report::Row;
use crate::command::output;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    ground.started("memory", &["--cold"])?;
    let shares = vmm(ground, "memory").and_then(shares);
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

/// The process of a machine's VMM.
pub(super) fn vmm(ground: &Ground, name: &str) -> Result<u64> {
    let told = output(&mut ground.knaller(&["inspect", name, "-o", "json"]))?;
    let machine: serde_json::Value = serde_json::from_str(&told)?;
    machine["pid"].as_u64().context("a machine without a process")
}

/// Name and proportional set size in KiB of each process of a VM: pasta, its child the VMM, and that one's.
pub(super) fn shares(vmm: u64) -> Result<Vec<(String, u64)>> {
    let pasta = parent(vmm)?;
    let mut shares = vec![share(pasta)?, share(vmm)?];
    let children = std::fs::read_to_string(format!("/proc/{vmm}/task/{vmm}/children"))?;
    for child in children.split_whitespace() {
        shares.push(share(child.parse()?)?);
    }
    Ok(shares)
}

fn share(pid: u64) -> Result<(String, u64)> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))?
        .trim()
        .to_owned();
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let pss = number(&rollup, "Pss:").with_context(|| format!("no Pss of {name}"))?;
    Ok((name, pss))
}

pub(super) fn parent(pid: u64) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    number(&status, "PPid:").with_context(|| format!("no parent of {pid}"))
}

/// The first word after a field's name.
fn number(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}
