//! What the Makefile calls that is more than one line: `cargo xtask COMMAND`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a build tool talks to its caller"
)]

mod bench;
mod build;
mod check;
mod command;
mod demo;
mod firecracker;
mod fuzz;
mod images;
mod soak;
mod stage;
mod suites;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// The project's own build tool; `make help` lists what a person needs of it.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Xtask {
    /// Release binaries in target/release, the guest's init in target/guest.
    Build,
    /// Only the guest's init.
    Guest,
    /// Copies the release binaries, completions and man pages to PREFIX.
    Install { prefix: PathBuf },
    /// Formatting, clippy, docs, licences, unused dependencies, fuzz targets.
    Check,
    /// Every test, with a summary; names select suites, what follows `--` goes to each.
    Test {
        suites: Vec<String>,
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// The tests that a real Firecracker must pass; names select suites.
    TestFirecracker { suites: Vec<String> },
    /// The main job, unattended.
    Demo,
    /// Makes the images of tests, demo and benchmarks, or those named, and says how long each took.
    Images { names: Vec<String> },
    /// Measures, writes docs/benchmarks.md; names select parts, whose figures are only printed.
    Bench {
        parts: Vec<String>,
        /// What runs the machines; for Firecracker only what concerns machines is measured.
        #[arg(long, value_enum, default_value_t)]
        vmm: bench::Vmm,
        /// The folder that the report is written to.
        #[arg(long)]
        into: Option<PathBuf>,
    },
    /// The same for Firecracker, with emulated KVM; writes docs/benchmarks-firecracker.md.
    BenchFirecracker,
    /// Every fuzz target for FUZZ_SECONDS (60).
    Fuzz {
        #[arg(long, env = "FUZZ_SECONDS", default_value_t = 60)]
        seconds: u32,
    },
    /// BOOTS (1,000) boots in a row with all cores busy.
    SoakBoot {
        #[arg(long, env = "BOOTS", default_value_t = 1000)]
        boots: u32,
    },
}

fn main() -> ExitCode {
    let result = match Xtask::parse() {
        Xtask::Build => build::all(),
        Xtask::Guest => build::guest().map(drop),
        Xtask::Install { prefix } => build::install(&prefix),
        Xtask::Check => check::run(),
        Xtask::Test { suites, arguments } => suites::run_suites(&suites, &arguments),
        Xtask::TestFirecracker { suites } => firecracker::run_all(&suites),
        Xtask::Demo => demo::run_all(),
        Xtask::Images { names } => images::make(&names),
        Xtask::Bench { parts, vmm, into } => bench::run(&parts, vmm, into.as_deref()),
        Xtask::BenchFirecracker => firecracker::bench(),
        Xtask::Fuzz { seconds } => fuzz::run_all(seconds),
        Xtask::SoakBoot { boots } => soak::run(boots),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
