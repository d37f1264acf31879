//! The fuzz targets in `fuzz/`, one file each in `fuzz/src/targets/`, all of them one program.

use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{cargo, root, run, step, target};

/// libFuzzer's coverage counters: stable code generation flags, so that no nightly compiler is asked for.
const COVERAGE: &str = "--cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
     -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
     -C llvm-args=-sanitizer-coverage-trace-compares -C debug-assertions -C overflow-checks";

fn folder() -> std::path::PathBuf {
    target().join("fuzz")
}

fn names() -> Result<Vec<String>> {
    let folder = root().join("fuzz/src/targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Builds all of them.
pub(crate) fn build() -> Result<()> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    run(cargo(&[
        "build",
        "--quiet",
        "--release",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target",
        &triple,
    ])
    .env("RUSTFLAGS", COVERAGE)
    .arg("--target-dir")
    .arg(folder()))
}

/// Runs each for `seconds`; a crash or a hang ends with the input's file named.
pub(crate) fn run_all(seconds: u32) -> Result<()> {
    step("building the fuzz targets", build)?;
    let seeds = root().join("fuzz/seeds");
    let program = format!("{}-unknown-linux-gnu/release/fuzz", std::env::consts::ARCH);
    for name in names()? {
        let corpus = folder().join("corpus").join(&name);
        std::fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        let artifacts = format!("-artifact_prefix={}/{name}-", folder().display());
        step(&format!("fuzzing {name} for {seconds} s"), || {
            run(Command::new(folder().join(&program))
                .env("FUZZ_TARGET", &name)
                .arg(&corpus)
                .args(Some(seeds.join(&name)).filter(|folder| folder.is_dir()))
                .args([format!("-max_total_time={seconds}"), artifacts])
                .args([
                    "-timeout=20",
                    "-rss_limit_mb=2048",
                    "-max_len=65536",
                    "-print_final_stats=1",
                    "-verbosity=0",
                ]))
        })?;
    }
    Ok(())
}
