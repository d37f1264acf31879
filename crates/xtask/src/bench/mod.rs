//! `make bench`: every figure is a ratio of two things measured in the same run, so that a busy or slow machine says
//! nothing false. Medians; the machine is named. The result is `docs/benchmarks.md`.

mod bare;
mod ground;
mod init;
mod list;
mod memory;
mod report;
mod sizes;
mod start;

use anyhow::Result;

use crate::command::{root, step};
use ground::Ground;
use report::{Report, Row};

/// One measurement: what it is called, and how it is done.
type Part = (&'static str, fn(&Ground) -> Result<Vec<Row>>);

/// How often each thing is measured.
const RUNS: usize = 11;

pub(crate) fn run() -> Result<()> {
    let ground = Ground::new()?;
    let mut report = Report::default();
    let parts: [Part; 5] = [
        ("start to SSH against the same QEMU by hand", start::measure),
        ("init to SSH banner against busybox and dropbear", init::measure),
        ("list of 50 VMs", list::measure),
        ("memory beside QEMU's", memory::measure),
        ("sizes", sizes::measure),
    ];
    for (title, measure) in parts {
        let rows = step(title, || measure(&ground))?;
        for row in &rows {
            println!("    {row}");
        }
        report.rows.extend(rows);
    }
    let text = report.markdown(ground::accelerator(&ground))?;
    println!("\n{text}");
    let file = root().join("docs/benchmarks.md");
    std::fs::write(&file, text)?;
    println!("written to {}", file.display());
    Ok(())
}
