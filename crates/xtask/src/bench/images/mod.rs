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

use super::ground::{Ground, quiet};
use super::report::Row;
use subject::Subject;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    if !testkit::is_root() {
        println!("    left out: the images are made, and unpacked by the rivals, as root");
        return Ok(Vec::new());
    }
    let subjects = [Subject::debian(ground)?, Subject::big(ground)?];
    let mut rows = Vec::new();
    for subject in &subjects {
        rows.extend(build::measure(ground, subject)?);
        rows.extend(pull::measure(ground, subject)?);
    }
    let [debian, big] = &subjects;
    rows.extend(machine::nth(ground, big)?);
    rows.extend(machine::run(ground, debian)?);
    rows.extend(reads::measure(ground, big)?);
    Ok(rows)
}

/// How long it takes, when nothing of others is left to write.
fn timed(command: &mut Command) -> Result<Duration> {
    quiet(&mut Command::new("sync"))?;
    let start = Instant::now();
    quiet(command)?;
    Ok(start.elapsed())
}
