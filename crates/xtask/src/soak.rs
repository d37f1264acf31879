//! `make soak-boot`: guests booted in a row while every core is kept busy, because that is when a guest whose clock is
//! calibrated by software emulation used to hang.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::command::{output, target};

pub(crate) fn run(boots: u32) -> Result<()> {
    let binaries = build::release()?;
    let runtime =
        PathBuf::from(output(Command::new("mktemp").args(["-d", "/tmp/knaller-soak-XXXXXX"]))?.trim());
    let data = target().join("demo");
    let _load = Load::new()?;
    let mut times = Vec::new();
    for boot in 1..=boots {
        let took = one(&binaries, &data, &runtime).with_context(|| format!("boot {boot} of {boots}"))?;
        times.push(took);
        if boot % 10 == 0 || boot == boots {
            println!("{boot} boots, the last in {:.1} s", took.as_secs_f64());
        }
    }
    std::fs::remove_dir_all(&runtime).with_context(|| format!("cannot remove {}", runtime.display()))?;
    times.sort();
    let at = |percent: usize| {
        times
            .get((times.len().max(1) - 1) * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{boots} boots, none hung: median {:.2} s, 99 % {:.2} s, longest {:.2} s",
        at(50).as_secs_f64(),
        at(99).as_secs_f64(),
        at(100).as_secs_f64()
    );
    Ok(())
}

/// One VM from start to SSH and away again.
fn one(binaries: &Path, data: &Path, runtime: &Path) -> Result<Duration> {
    let knaller = |arguments: &[&str]| {
        let mut command = Command::new(binaries.join("knaller"));
        command
            .args(arguments)
            .env("XDG_DATA_HOME", data)
            .env("XDG_RUNTIME_DIR", runtime);
        command
    };
    let start = Instant::now();
    let started = knaller(&["start", "soak", "--detach", "--network", "none"]).output()?;
    let took = start.elapsed();
    if !started.status.success() {
        bail!(
            "the guest did not come up: {}",
            String::from_utf8_lossy(&started.stderr)
        );
    }
    let removed = knaller(&["rm", "--force", "soak"]).output()?;
    if !removed.status.success() {
        bail!(
            "the guest did not go away: {}",
            String::from_utf8_lossy(&removed.stderr)
        );
    }
    Ok(took)
}

/// One busy loop a core, ended with this value.
struct Load(Vec<Child>);

impl Load {
    fn new() -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let mut load = Self(Vec::new());
        for _ in 0..cores {
            let busy = Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn();
            load.0.push(busy.context("cannot start a busy loop")?);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
