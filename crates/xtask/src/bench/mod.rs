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

/// How often each thing is measured.
const RUNS: usize = 11;

/// Measures the parts with these names, or all of them; only a report of all is written.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let parts: Vec<_> = PARTS.iter().chain(&images::PARTS).collect();
    for name in names {
        let all: Vec<_> = parts.iter().map(|part| part.name).collect();
        ensure!(
            all.contains(&name.as_str()),
            "no part is called {name}; there are {}",
            all.join(", ")
        );
    }
    let ground = Ground::new()?;
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
        let text = report.markdown(ground::accelerator(&ground))?;
        println!("\n{text}");
        let docs = root().join("docs");
        report.draw(&docs.join("plots"))?;
        let file = docs.join("benchmarks.md");
        std::fs::write(&file, text)?;
        println!("written to {}", file.display());
    }
    Ok(())
}
