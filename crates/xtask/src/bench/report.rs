//! The table of results and the machine they were measured on.

use std::fmt::{Display, Formatter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::ground::{Ground, accelerator};
use super::plot::Plot;
use crate::command::output;

/// One measured thing.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) ours: String,
    pub(super) against: String,
    /// Ours over the other's: smaller is better.
    pub(super) ratio: Option<f64>,
    /// What the ratio must not exceed.
    pub(super) budget: Option<f64>,
    /// What it looks like.
    pub(super) plot: Option<Plot>,
    /// What must be known to read it: a sentence below the table.
    pub(super) note: Option<&'static str>,
}

impl Row {
    /// Two times and what may lie between them.
    pub(super) fn times(what: &str, ours: Duration, other: &str, theirs: Duration, budget: f64) -> Self {
        Self {
            what: what.into(),
            ours: milliseconds(ours),
            against: format!("{other}: {}", milliseconds(theirs)),
            ratio: Some(ours.as_secs_f64() / theirs.as_secs_f64()),
            budget: Some(budget),
            plot: None,
            note: None,
        }
    }

    /// A figure that stands for itself.
    pub(super) fn figure(what: &str, ours: String, against: &str) -> Self {
        Self {
            what: what.into(),
            ours,
            against: against.into(),
            ratio: None,
            budget: None,
            plot: None,
            note: None,
        }
    }
}

/// As a line of the table.
impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let figure = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
        let verdict = match (self.ratio, self.budget) {
            (Some(ratio), Some(budget)) if ratio <= budget => "kept",
            (Some(_), Some(_)) => "**missed**",
            _ => "",
        };
        let Self {
            what, ours, against, ..
        } = self;
        let (ratio, budget) = (figure(self.ratio), figure(self.budget));
        write!(
            f,
            "| {what} | {ours} | {against} | {ratio} | {budget} | {verdict} |"
        )
    }
}

pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// The middle one; of an even number the upper of the two.
pub(super) fn median<T: Ord + Copy + Default>(mut measured: Vec<T>) -> T {
    measured.sort();
    measured.get(measured.len() / 2).copied().unwrap_or_default()
}

#[derive(Default)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
}

impl Report {
    /// Below `heading` the machine, the table and the plots, which are in this folder beside it.
    pub(super) fn markdown(&self, heading: &str, ground: &Ground, plots: &str) -> Result<String> {
        let mut text = heading.to_owned();
        writeln!(text, "\nMachine: {}, {}.\n", machine()?, accelerator(ground)?)?;
        writeln!(
            text,
            "| what | ours | against | ratio | budget | |\n|---|---|---|---|---|---|"
        )?;
        for row in &self.rows {
            writeln!(text, "{row}")?;
        }
        for note in self.rows.iter().filter_map(|row| row.note) {
            writeln!(text, "\n{note}")?;
        }
        for Plot { name, title, .. } in self.plots() {
            writeln!(text, "\n![{title}]({plots}/{name}.svg)")?;
        }
        Ok(text)
    }

    /// Writes the plots into a folder.
    pub(super) fn draw(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        for plot in self.plots() {
            std::fs::write(folder.join(plot.name).with_extension("svg"), &plot.svg)?;
        }
        Ok(())
    }

    fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.rows.iter().filter_map(|row| row.plot.as_ref())
    }
}

/// Processor, cores, memory, kernel, QEMU.
fn machine() -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| {
            rest.trim_start_matches(['\t', ' ', ':']).trim()
        });
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = output(std::process::Command::new("uname").arg("-sr"))?;
    let qemu = output(std::process::Command::new("qemu-system-x86_64").arg("--version"))?;
    let qemu = qemu.lines().next().unwrap_or_default();
    Ok(format!(
        "{model}, {cores} cores, {} GiB, {}, {qemu}",
        kib / 1024 / 1024,
        kernel.trim()
    ))
}
