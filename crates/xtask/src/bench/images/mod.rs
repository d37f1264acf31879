//! Images: made into root file systems, fetched, started from, and read from in the guest, each against what other tools do
//! with the same image on the same machine.
//!
//! The rivals get what they need for nothing: a layout that is unpacked already, a size that fits, a tar that is merged.

mod build;
mod machine;
mod pull;
mod reads;
mod rivals;
mod subject;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Part;
use super::ground::{Ground, quiet};
use super::report::Row;
use subject::Subject;

pub(super) const PARTS: [Part; 5] = [
    Part {
        name: "import",
        title: "images: from an archive to a root file system",
        measure: |ground| of_both(ground, build::measure),
    },
    Part {
        name: "pull",
        title: "images: from a registry to a root file system",
        measure: |ground| of_both(ground, pull::measure),
    },
    Part {
        name: "nth",
        title: "images: disks of one more VM",
        measure: |ground| of(ground, Subject::big, machine::nth),
    },
    Part {
        name: "run",
        title: "images: run of true",
        measure: |ground| of(ground, Subject::debian, machine::run),
    },
    Part {
        name: "reads",
        title: "images: reads in the guest",
        measure: |ground| of(ground, Subject::big, reads::measure),
    },
];

/// A warm start of an image's first machine.
pub(super) fn first(ground: &Ground) -> Result<Vec<Row>> {
    of(ground, Subject::debian, machine::first)
}

type Measure = fn(&Ground, &Subject) -> Result<Vec<Row>>;

fn of_both(ground: &Ground, measure: Measure) -> Result<Vec<Row>> {
    let mut rows = of(ground, Subject::debian, measure)?;
    rows.extend(of(ground, Subject::big, measure)?);
    Ok(rows)
}

fn of(ground: &Ground, subject: fn(&Ground) -> Result<Subject>, measure: Measure) -> Result<Vec<Row>> {
    if !testkit::is_root() {
        println!("    left out: the images are made, and unpacked by the rivals, as root");
        return Ok(Vec::new());
    }
    measure(ground, &subject(ground)?)
}

/// How long it takes, when nothing of others is left to write.
fn timed(command: &mut Command) -> Result<Duration> {
    quiet(&mut Command::new("sync"))?;
    let start = Instant::now();
    quiet(command)?;
    Ok(start.elapsed())
}
