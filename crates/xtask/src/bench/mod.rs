//! `make bench`: every figure is a ratio of two things measured in the same run, so that a busy or slow machine says
//! nothing false. Medians; the machine is named. The result is `docs/benchmarks.md`.

mod adopt;
mod bare;
mod density;
mod fork;
mod go;
mod ground;
mod images;
mod init;
mod memory;
mod plot;
mod report;
mod sizes;
mod snapshot;
mod start;
mod warm;

use std::path::Path;

use anyhow::{Result, ensure};

use crate::command::{root, step};
use ground::Ground;
use report::{Report, Row};

/// A group of measurements.
struct Part {
    /// For whoever wants it alone.
    name: &'static str,
    title: &'static str,
    measure: fn(&Ground) -> Result<Vec<Row>>,
}

const PARTS: [Part; 10] = [
    Part {
        name: "start",
        title: "start to SSH against the same QEMU by hand",
        measure: start::measure,
    },
    Part {
        name: "warm",
        title: "warm start to SSH against a cold one",
        measure: warm::measure,
    },
    Part {
        name: "snapshot",
        title: "how long a machine stands still for its snapshot",
        measure: snapshot::measure,
    },
    Part {
        name: "fork",
        title: "ten forks against one",
        measure: fork::measure,
    },
    Part {
        name: "init",
        title: "init to SSH banner against busybox and dropbear",
        measure: init::measure,
    },
    Part {
        name: "density",
        title: "50 idle VMs at once",
        measure: density::measure,
    },
    Part {
        name: "adopt",
        title: "machines back after their supervisor was killed",
        measure: adopt::measure,
    },
    Part {
        name: "memory",
        title: "memory beside QEMU's",
        measure: memory::measure,
    },
    Part {
        name: "go",
        title: "start to SSH banner and memory, against the Go knaller",
        measure: go::measure,
    },
    Part {
        name: "sizes",
        title: "sizes of what ships",
        measure: sizes::measure,
    },
];

/// What measures machines against machines, whatever VMM runs them; the other parts concern sparkler, or no VMM at all.
const OF_MACHINES: [&str; 3] = ["warm", "snapshot", "fork"];

/// How often each thing is measured.
const RUNS: usize = 11;

/// What the reports begin with.
const SPARKLER: &str = "\
# Benchmarks

Written by `make bench`; a ratio is ours over the other's in the same run, medians of 11 runs; of forks, reads, and of import and pull of
Debian, of 5; of those of 1 GiB, of 3 (ours and skopeo) or one (all else).
";
const FIRECRACKER: &str = "\
# Benchmarks on a real Firecracker

Written by `make bench-firecracker`, which measures inside `dev/with-kvm`: the processor and its virtualisation are emulated there,
and everything is about ten times slower than on one that has it. The ratios are what says something: ours over the other's in the
same run, medians of 11 runs, of forks of 5.
";

/// What runs the machines that are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Vmm {
    #[default]
    Sparkler,
    Firecracker,
}

impl Vmm {
    /// As `knaller start --vmm` has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sparkler => "sparkler",
            Self::Firecracker => "firecracker",
        }
    }
}

/// Measures the parts with these names and writes nothing, or all parts that concern this VMM, and writes the report.
pub(crate) fn run(names: &[String], vmm: Vmm, into: Option<&Path>) -> Result<()> {
    let parts = PARTS.iter().chain(&images::PARTS);
    let parts: Vec<_> = parts
        .filter(|part| vmm == Vmm::Sparkler || OF_MACHINES.contains(&part.name))
        .collect();
    for name in names {
        let all: Vec<_> = parts.iter().map(|part| part.name).collect();
        ensure!(
            all.contains(&name.as_str()),
            "no part is called {name}; there are {}",
            all.join(", ")
        );
    }
    let ground = Ground::new(vmm)?;
    let mut report = Report::default();
    for part in parts {
        if !names.is_empty() && !names.iter().any(|name| name == part.name) {
            continue;
        }
        let rows = step(part.title, || (part.measure)(&ground))?;
        for row in &rows {
            println!("    {row}");
        }
        report.rows.extend(rows);
    }
    if names.is_empty() {
        let docs = into.map_or_else(|| root().join("docs"), Path::to_owned);
        let (file, heading, plots) = match vmm {
            Vmm::Sparkler => ("benchmarks.md", SPARKLER, "plots"),
            Vmm::Firecracker => ("benchmarks-firecracker.md", FIRECRACKER, "plots/firecracker"),
        };
        let text = report.markdown(heading, &ground, plots)?;
        println!("\n{text}");
        report.draw(&docs.join(plots))?;
        let file = docs.join(file);
        std::fs::write(&file, text)?;
        println!("written to {}", file.display());
    }
    Ok(())
}
